"""
Invalid configuration files, each with the errors it must produce.

For each error: its line, and parts of its text, such as the key, what is wrong and what is expected. ``hunter2`` stands
for a password and must not appear in any error.
"""

from __future__ import annotations

from typing import TypeAlias

#: A line number, and parts of the error text.
ExpectedError: TypeAlias = tuple[int, list[str]]

BROKEN: dict[str, tuple[str, list[ExpectedError]]] = {
    # Invalid TOML.
    "noQuotes": ("[server]\nrealm = limited\n", [(2, ["invalid TOML", "column 9", "strings need quotes"])]),
    "colonForEquals": ("[server]\nrealm: limited\n", [(2, ["invalid TOML", "column 6"])]),
    "openText": ('[server]\nrealm = "limited\n', [(2, ["invalid TOML"])]),
    "openArray": ('[server]\nlisten = ["tcp:1"\n', [(2, ["invalid TOML", "end of the file"])]),
    "openTable": ("[server\n", [(1, ["invalid TOML"])]),
    "keyTwice": ("[realm]\nmax = 1\nmax = 2\n", [(3, ["invalid TOML"])]),
    "tableTwice": ("[realm]\nmax = 1\n[realm]\nlinger = 2\n", [(3, ["invalid TOML"])]),
    "capitalTruth": ("[profile]\nanyMind = True\n", [(2, ["invalid TOML", "column 11"])]),
    "stringEscape": ('[server]\nlisten = ["unix:C:\\pb"]\n', [(2, ["invalid TOML"])]),
    "passwordNoQuotes": ("[server]\nauth = [memory:alice:hunter2]\n", [(2, ["invalid TOML"])]),
    "byteOrderMark": ("\ufeff[server]\n", [(1, ["byte order mark", "UTF-8"])]),
    "iniFile": ("[server]\nrealm = 'limited' ; the realm\n", [(2, ["invalid TOML"])]),
    # Tables.
    "unknownTable": ("[sevrer]\nrealm = 'limited'\n", [(1, ["sevrer", "did you mean 'server'?"])]),
    "strangeTable": ("[database]\nurl = 'hunter2'\n", [(1, ["database", "[server], [realm], [profile]"])]),
    "keyWithoutTable": ("listen = ['tcp:1']\n", [(1, ["listen", "under [server]"])]),
    "passwordWithoutTable": ("auth = ['memory:alice:hunter2']\n", [(1, ["auth", "under [server]"])]),
    "realmAsText": ("realm = 'limited'\n", [(1, ["realm", "got a string, expected a table", "under [server]"])]),
    "profileAsText": ("profile = 'strict'\n", [(1, ["profile", "a table", "[profile]"])]),
    "serverAsText": ("server = 'limited'\n", [(1, ["server", "a table", "[server]"])]),
    "arrayOfTables": ("[[server]]\nrealm = 'limited'\n", [(1, ["server", "got an array, expected a table"])]),
    # Keys of [server].
    "misspelt": ("[server]\n\nlisen = ['tcp:1']\n", [(3, ["lisen", "did you mean 'listen'?"])]),
    "otherCase": ("[server]\nRealm = 'limited'\n", [(2, ["Realm", "did you mean 'realm'?"])]),
    "strange": (
        "[server]\ncolour = 'red'\n",
        [(2, ["colour", "Keys of [server]: realm, avatar, portal, listen, auth"])],
    ),
    "parameterOfTheRealm": ("[server]\nmax = 3\n", [(2, ["server.max", "belong under [realm]"])]),
    "realmIsNumber": (
        "[server]\nrealm = 3\n",
        [(2, ["realm", "got an integer, expected a string", 'realm = "limited"'])],
    ),
    "realmIsTable": ("[server.realm]\nmax = 3\n", [(1, ["server.realm", "got a table, expected a string"])]),
    "realmIsEmpty": ("[server]\nrealm = ''\n", [(2, ["server.realm", "got an empty string"])]),
    "avatarIsArray": ("[server]\navatar = ['game.Player']\n", [(2, ["avatar", "got an array, expected a string"])]),
    "listenIsText": (
        "[server]\nlisten = 'tcp:8787'\n",
        [(2, ["listen", "got a string, expected an array of strings", '["tcp:8787:interface=127.0.0.1"]'])],
    ),
    "listenIsPort": ("[server]\nlisten = [\n8787,\n]\n", [(3, ["listen", "got an integer in the array", "strings"])]),
    "listenIsEmpty": ("[server]\nlisten = []\n", [(2, ["listen", "an empty array", "leave the key out"])]),
    "authIsText": (
        "[server]\nauth = 'memory:alice:hunter2'\n",
        [(2, ["auth", "got a string, expected an array of strings"])],
    ),
    "authIsNested": (
        "[server]\nauth = [\n\n['memory:alice:hunter2']]\n",
        [(4, ["auth", "got an array in the array", "strings"])],
    ),
    "authIsTables": (
        "[[server.auth]]\nmemory = 'hunter2'\n",
        [(1, ["auth", "got a table in the array", "array of strings"])],
    ),
    "nul": ("[server]\nlisten = ['tcp:1:interface=127.0.0.1', \"\\u0000\"]\n", [(2, ["listen", "NUL"])]),
    "enforceOnNobody": ("[server]\nenforce = 'nobody'\n", [(2, ["enforce", "'nobody'", "newcomers, everybody"])]),
    "graceIsText": ("[server]\ngrace = '5'\n", [(2, ["grace", "got '5' (string)", "a number of at least 0"])]),
    "graceIsNegative": ("[server]\ngrace = -1\n", [(2, ["grace", "at least 0", "-1"])]),
    "graceIsForEver": ("[server]\ngrace = inf\n", [(2, ["grace", "at least 0", "inf"])]),
    "graceIsDate": ("[server]\ngrace = 2026-01-01\n", [(2, ["grace", "(date or time)"])]),
    "graceIsTruth": ("[server]\ngrace = true\n", [(2, ["grace", "true (boolean)"])]),
    # Names and values of [server].
    "noSuchRealm": ("[server]\nrealm = 'limted'\n", [(2, ["limted", "did you mean 'limited'?", "caching"])]),
    "noSuchModule": (
        "[server]\nrealm = 'nosuchgame.Realm'\n",
        [(2, ["nosuchgame.Realm", "no such module or attribute"])],
    ),
    "realmIsNone": ("[server]\nrealm = 'pbkit.Avatar'\n", [(2, ["pbkit.Avatar", "not a realm class"])]),
    "noSuchAvatar": ("[server]\navatar = 'nosuchgame.Player'\n", [(2, ["avatar nosuchgame.Player", "no such module"])]),
    "avatarIsNone": ("[server]\navatar = 'pbkit.LimitedRealm'\n", [(2, ["not an avatar class", "pbkit.Avatar"])]),
    "noSuchEndpoint": ("[server]\nlisten = ['tpc:8787:interface=127.0.0.1']\n", [(2, ["tpc:8787", "tcp:8787"])]),
    "openToAll": ("[server]\nlisten = ['tcp:8787']\n", [(2, ["tcp:8787", "this machine only"])]),
    "noCertificate": (
        "[server]\nauth = ['memory:a:hunter2']\nlisten = ['tcp:1',\n'ssl:2:privateKey=no.pem:certKey=no.pem']\n",
        [(4, ["no.pem", "No such file"])],
    ),
    "noSuchChecker": ("[server]\nauth = ['memry:alice:hunter2']\n", [(2, ["'memry'", "memory:NAME:PASSWORD"])]),
    "checkerWithoutPassword": (
        "[server]\nauth = ['memory:hunter2']\n",
        [(2, ["memory", "expected memory:NAME:PASSWORD"])],
    ),
    "checkerThatCannotDo": ("[server]\nauth = ['unix']\n", [(2, ["unix", "plaintext"])]),
    "noPasswordFile": ("[server]\nauth = [\n'file:passwd']\n", [(3, ["passwd", "No such file"])]),
    "guestsNotTaken": ("[server]\nauth = ['anonymous']\n", [(2, ["refuses anonymous logins"])]),
    "hidden": (
        "[server]\nauth = ['hidden:memory']\n",
        [(2, ["auth", "--print-config", "expected the original description"])],
    ),
    # Parameters of the realm.
    "noSuchParameter": (
        "[server]\nrealm = 'limited'\n[realm]\nmaxx = 3\n",
        [(4, ["'maxx'", "did you mean 'max'?", "conflict: refuse|kick|probe"])],
    ),
    "parameterOfAnother": ("[realm]\nmax = 3\n", [(2, ["realm caching", "'max'", "linger: float"])]),
    "parameterIsText": ("[server]\nrealm = 'limited'\n[realm]\nmax = '3'\n", [(4, ["max", "an integer"])]),
    "parameterIsTruth": ("[server]\nrealm = 'limited'\n[realm]\nmax = true\n", [(4, ["max", "an integer"])]),
    "parameterIsFraction": (
        "[server]\nrealm = 'limited'\n[realm]\nmax = 2.5\n",
        [(4, ["invalid max: got 2.5 (number)", "an integer"])],
    ),
    "parameterIsTooSmall": (
        "[server]\nrealm = 'limited'\n[realm]\nmax = 0\n",
        [(4, ["invalid max: got 0", "at least 1"])],
    ),
    "parameterIsNoChoice": (
        "[server]\nrealm = 'single'\n[realm]\nconflict = 'Kick'\n",
        [(4, ["conflict: got 'Kick'", "refuse, kick, probe"])],
    ),
    "parameterIsTable": ("[server]\nrealm = 'caching'\n[realm.linger]\nx = 3\n", [(3, ["linger", "a number"])]),
    "parameterOfOneUser": (
        "[server]\nrealm = 'limited'\n[realm.max]\nalice = '3'\n",
        [(3, ["max.alice: got '3' (string)", "an integer"])],
    ),
    "parameterTwice": (
        "[server]\nrealm = 'limited:max=2'\n[realm]\nmax = 3\n",
        [(4, ["max", "given twice", "limited:max=2"])],
    ),
    "parameterInText": ("[server]\nrealm = 'limited:max'\n", [(2, ["limited:max", "key=value"])]),
    "parameterInTextWrong": ("[server]\nrealm = 'limited:max=x'\n", [(2, ["invalid max: got 'x'", "an integer"])]),
    "parameterOfAnObject": (
        "[server]\nrealm = 'tests.serving.test_service.aRealm'\n[realm]\nmax = 3\n",
        [(2, ["tests.serving.test_service.aRealm", "is an object"])],
    ),
    "portalAndRealm": (
        "[server]\nportal = 'tests.serving.test_service.aPortal'\nrealm = 'limited'\nauth = ['memory:a:hunter2']\n"
        "[realm]\nmax = 1\n",
        [(3, ["realm", "remove realm"]), (4, ["auth", "remove auth"]), (6, ["realm.max", "remove"])],
    ),
    "portalIsNone": (
        "[server]\nportal = 'tests.serving.test_service.aRealm'\n",
        [(2, ["portal", "expected a cred Portal"])],
    ),
    # The profile.
    "noSuchProfile": ("[server]\nprofile = 'dropin'\n", [(2, ["'dropin'", "did you mean 'drop-in'?", "strict"])]),
    "noSuchField": ("[profile]\nraiseOnDed = true\n", [(2, ["raiseOnDed", "did you mean 'raiseOnDead'?"])]),
    "fieldIsNumber": (
        "[profile]\nanyMind = 1\n",
        [(2, ["anyMind: got 1 (integer)", "true or false", "anyMind = false"])],
    ),
    "nameOfTheProfile": ("[profile]\nname = 'lax'\n", [(2, ["profile.name", "under [server]"])]),
    # Many errors at once, in the order of the file.
    "all": (
        "listen = []\n[server]\nrealm = 'limted'\navatar = 'Player'\nlisen = 1\nauth = ['memory:hunter2', 3]\n"
        "listen = ['nonsense', 'tcp:x']\n[realm]\nmax = 3\n[profile]\nanyMind = 1\nanyMnd = 1\n",
        [
            (1, ["listen", "under [server]"]),
            (3, ["limted"]),
            (4, ["invalid avatar: got 'Player'", "dotted path"]),
            (5, ["lisen"]),
            (6, ["an integer"]),
            (6, ["memory"]),
            (7, ["'nonsense'"]),
            (7, ["'tcp:x'"]),
            (11, ["anyMind"]),
            (12, ["anyMnd"]),
        ],
    ),
}
