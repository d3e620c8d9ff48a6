/*
 * The codec, compiled: the same as pbkit/wire/codec/pure.py, which says what each thing promises and why.
 *
 * `pip install -e .` builds it anew in a checkout. Rules of this file:
 *
 * - What comes from a peer is read through a Reader or the Framer, never beyond `end`; nothing is allocated for what is
 *   only announced, beyond eight bytes for each byte that is there.
 * - No function calls itself deeper than DEEPEST.
 * - No code of Python's own runs while a container of the caller's is looked at, but what a collection of garbage may
 *   call; so what is taken out of a container is owned, and its size is looked at again.
 * - The readers and writers of plain values return NULL or -1 for "left to stock", with or without an exception set;
 *   where they are called the exception is cleared, and None returned.
 * - Only public functions of Python's, those of 3.11 and later.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LIST = 0x80, INT, STRING, NEG, FLOAT, LONGINT, LONGNEG, VOCAB };

enum { DEEPEST = 128, COLLISIONS = 32 };

/* More than any bound; two of them, and a message, still fit. */
#define HUGE_NUMBER ((uint64_t)1 << 61)
#define LARGEST_BOUND ((Py_ssize_t)1 << 60)

/* Banana's vocabulary. The tests hold it against stock's. */
static const char *const WORDS[] = {
    NULL, "None", "class", "dereference", "reference", "dictionary", "function", "instance", "list", "module",
    "persistent", "tuple", "unpersistable", "copy", "cache", "cached", "remote", "local", "lcache", "version", "login",
    "password", "challenge", "logged_in", "not_logged_in", "cachemessage", "message", "answer", "error", "decref",
    "decache", "uncache",
};
enum { W_NONE = 1, W_DEREFERENCE = 3, W_REFERENCE = 4, W_DICTIONARY = 5, W_LIST = 8, W_TUPLE = 11, W_CACHEMESSAGE = 25, W_MESSAGE = 26, W_ANSWER = 27 };
enum { N_WORDS = sizeof(WORDS) / sizeof(WORDS[0]), LONGEST_WORD = 13 };

/* By length: the numbers of the words that have it, ended by 0. */
static uint8_t word_numbers[LONGEST_WORD + 1][8];
static PyObject *word_objects[N_WORDS];

static PyObject *TooLarge, *Malformed, *pure_encode;
static PyObject *s_message, *s_answer;
/* Nobody outside can guess it, so nobody can choose what falls into one place of a table. */
static uint64_t secret;

/* ---------------------------------------------------------------------------------------------- arguments */

/*
 * Put the arguments of a call, by place or by name, into `out`; what was left away stays NULL. 0, or -1 and TypeError.
 */
static int
take(const char *function, const char *const *names, Py_ssize_t required, Py_ssize_t most, PyObject *const *args,
     Py_ssize_t nargs, PyObject *kwnames, PyObject **out)
{
    if (nargs > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments at most, not %zd", function, most, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < most; i++)
        out[i] = i < nargs ? args[i] : NULL;
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        Py_ssize_t i = 0;
        while (i < most && PyUnicode_CompareWithASCIIString(name, names[i]) != 0)
            i++;
        if (i == most || out[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() has no argument %R, or it is given twice", function, name);
            return -1;
        }
        out[i] = args[nargs + k];
    }
    for (Py_ssize_t i = 0; i < required; i++) {
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() lacks the argument '%s'", function, names[i]);
            return -1;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- numbers */

/* A number from its digits, base 128, the least first. */
static PyObject *
number(const uint8_t *digits, Py_ssize_t count, int negative)
{
    PyObject *found = PyLong_FromLong(0), *shift = PyLong_FromLong(56);
    while (count > 0 && digits[count - 1] == 0)
        count--;
    /* Eight digits at a time, the greatest first. */
    for (Py_ssize_t first = (count - 1) / 8 * 8; found != NULL && shift != NULL && count > 0 && first >= 0; first -= 8) {
        uint64_t part = 0;
        for (Py_ssize_t i = Py_MIN(first + 8, count); i-- > first;)
            part = part << 7 | digits[i];
        PyObject *shifted = PyNumber_Lshift(found, shift);
        PyObject *low = PyLong_FromUnsignedLongLong(part);
        Py_SETREF(found, shifted != NULL && low != NULL ? PyNumber_Or(shifted, low) : NULL);
        Py_XDECREF(shifted);
        Py_XDECREF(low);
    }
    if (shift == NULL)
        Py_CLEAR(found);
    if (found != NULL && negative)
        Py_SETREF(found, PyNumber_Negative(found));
    Py_XDECREF(shift);
    return found;
}

/* ---------------------------------------------------------------------------------------------- Framer */

enum { B_MESSAGE, B_ITEMS, B_DEPTH, B_STRING, B_PREFIX, N_BOUNDS };
static const char *const BOUNDS[] = {"message", "items", "depth", "string", "list", "prefix"};

typedef struct {
    PyObject_HEAD
    /* What is held: a chunk as it came, or else bytes of our own, of which `used` are filled. From `start` on they
       were not given out yet. */
    PyObject *chunk;
    uint8_t *own;
    Py_ssize_t room, used, start;
    /* The next item, maybe behind the end of what is held; how many are to come; how many were announced, 0 before a
       message is begun. */
    int64_t pos, pending, total;
    /* For each list around, how many items will be to come when it has ended. */
    int64_t *ends;
    Py_ssize_t depth, ends_room;
    Py_ssize_t bounds[N_BOUNDS], later[N_BOUNDS];
    PyObject *dead, *dead_args;
    /* For tests: how many items were looked at, and how many bytes moved. */
    int64_t looked, moved;
} Framer;

static void
framer_drop(Framer *self)
{
    Py_CLEAR(self->chunk);
    PyMem_Free(self->own);
    self->own = NULL;
    self->room = self->used = self->start = 0;
    self->pos = 0;
    /* Room for a few lists is kept: nearly each message has some. */
    if (self->ends_room > 16) {
        PyMem_Free(self->ends);
        self->ends = NULL;
        self->ends_room = 0;
    }
}

static int
framer_bounds(Framer *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"message", "items", "depth", "string", "prefix", NULL};
    Py_ssize_t new[N_BOUNDS] = {0, 0, 0, 0, 64};
    if (!PyArg_ParseTupleAndKeywords(args, kw, "nnnn|n", names, &new[0], &new[1], &new[2], &new[3], &new[4]))
        return -1;
    for (int i = 0; i < N_BOUNDS; i++) {
        if (new[i] < 1) {
            PyErr_Format(PyExc_ValueError, "a bound is 1 or more, not %zd", new[i]);
            return -1;
        }
    }
    for (int i = 0; i < N_BOUNDS; i++)
        self->later[i] = Py_MIN(new[i], LARGEST_BOUND);
    return 0;
}

static int
framer_init(Framer *self, PyObject *args, PyObject *kw)
{
    if (framer_bounds(self, args, kw) < 0)
        return -1;
    memcpy(self->bounds, self->later, sizeof(self->bounds));
    framer_drop(self);
    self->pending = self->total = 0;
    Py_CLEAR(self->dead);
    Py_CLEAR(self->dead_args);
    return 0;
}

static void
framer_dealloc(Framer *self)
{
    framer_drop(self);
    PyMem_Free(self->ends);
    Py_XDECREF(self->dead);
    Py_XDECREF(self->dead_args);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *
framer_limit(Framer *self, PyObject *args, PyObject *kw)
{
    if (framer_bounds(self, args, kw) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static const uint8_t *
framer_data(const Framer *self)
{
    return self->chunk != NULL ? (const uint8_t *)PyBytes_AS_STRING(self->chunk) : self->own;
}

/* Forget what was given out, so that what is held begins at 0. */
static void
framer_rebase(Framer *self)
{
    self->pos -= self->start;
    self->used -= self->start;
    self->start = 0;
}

static int
framer_append(Framer *self, const uint8_t *bytes, Py_ssize_t count)
{
    Py_ssize_t held = self->used - self->start;
    if (self->chunk != NULL || self->used + count > self->room) {
        if (self->chunk == NULL && held + count <= self->room / 2) {
            /* Half of the room and more was given out since this was last done. */
            memmove(self->own, self->own + self->start, (size_t)held);
            self->moved += held;
            framer_rebase(self);
        } else {
            Py_ssize_t room = held + count;
            room += room / 2;
            uint8_t *own = PyMem_Malloc((size_t)room);
            if (own == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            if (held > 0)
                memcpy(own, framer_data(self) + self->start, (size_t)held);
            self->moved += held;
            framer_rebase(self);
            Py_CLEAR(self->chunk);
            PyMem_Free(self->own);
            self->own = own;
            self->room = room;
        }
    }
    memcpy(self->own + self->used, bytes, (size_t)count);
    self->used += count;
    return 0;
}

static PyObject *
framer_feed(Framer *self, PyObject *chunk)
{
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    int failed = 0;
    if (self->dead == NULL && view.len > 0) {
        if (self->used == self->start && PyBytes_CheckExact(chunk)) {
            /* The usual case, and the next message is then cut out of the chunk itself. */
            framer_drop(self);
            Py_INCREF(chunk);
            self->chunk = chunk;
            self->used = view.len;
        } else
            failed = framer_append(self, view.buf, view.len);
    }
    PyBuffer_Release(&view);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* Set an error and remember it: `which` is a place in BOUNDS. */
static int
framer_too_large(Framer *self, int which, Py_ssize_t bound)
{
    self->dead_args = Py_BuildValue("(sn)", BOUNDS[which], bound);
    if (self->dead_args != NULL)
        self->dead = Py_NewRef(TooLarge);
    return -1;
}

static int
framer_enter(Framer *self)
{
    if (self->depth == self->ends_room) {
        Py_ssize_t room = self->ends_room < 8 ? 8 : self->ends_room * 2;
        int64_t *ends = PyMem_Realloc(self->ends, (size_t)room * sizeof(int64_t));
        if (ends == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        self->ends = ends;
        self->ends_room = room;
    }
    self->ends[self->depth++] = self->pending;
    return 0;
}

/* Read on, to the end of the message or to where bytes are missing. 0, or -1 with an error remembered or set. */
static int
framer_scan(Framer *self)
{
    const uint8_t *data = framer_data(self);
    const Py_ssize_t *bounds = self->bounds;
    const int64_t used = self->used, start = self->start;
    while (self->pending > 0 && self->pos < used) {
        int64_t pos = self->pos;
        const int64_t last = pos + bounds[B_PREFIX];
        uint64_t n = 0;
        int shift = 0;
        self->looked++;
        while (pos < used && data[pos] < 0x80) {
            if (pos == last)
                return framer_too_large(self, 5, bounds[B_PREFIX]);
            if (shift < 56) {
                n |= (uint64_t)data[pos] << shift;
                shift += 7;
            } else if (data[pos] != 0)
                n = HUGE_NUMBER;
            pos++;
        }
        if (pos == used)
            return 0;
        int kind = data[pos++];
        if (kind == STRING) {
            if (n > (uint64_t)bounds[B_STRING])
                return framer_too_large(self, 3, bounds[B_STRING]);
            pos += (int64_t)n;
            self->pending--;
            if (pos - start + self->pending > bounds[B_MESSAGE])
                return framer_too_large(self, 0, bounds[B_MESSAGE]);
        } else if (kind == LIST) {
            if (n > (uint64_t)bounds[B_ITEMS])
                return framer_too_large(self, 4, bounds[B_ITEMS]);
            self->total += (int64_t)n;
            if (self->total > bounds[B_ITEMS])
                return framer_too_large(self, 1, bounds[B_ITEMS]);
            while (self->depth > 0 && self->ends[self->depth - 1] >= self->pending)
                self->depth--;
            self->pending--;
            if (framer_enter(self) < 0)
                return -1;
            if (self->depth > bounds[B_DEPTH])
                return framer_too_large(self, 2, bounds[B_DEPTH]);
            self->pending += (int64_t)n;
            if (pos - start + self->pending > bounds[B_MESSAGE])
                return framer_too_large(self, 0, bounds[B_MESSAGE]);
        } else if (kind <= VOCAB) {
            if (kind == FLOAT)
                pos += 8;
            self->pending--;
        } else {
            self->dead_args = Py_BuildValue("(N)", PyUnicode_FromFormat("no type of Banana's: 0x%02x", kind));
            if (self->dead_args != NULL)
                self->dead = Py_NewRef(Malformed);
            return -1;
        }
        self->pos = pos;
    }
    return 0;
}

static PyObject *
framer_next(Framer *self, PyObject *Py_UNUSED(ignored))
{
    if (self->dead == NULL) {
        if (self->used == self->start)
            Py_RETURN_NONE;
        if (self->total == 0) {
            memcpy(self->bounds, self->later, sizeof(self->bounds));
            self->pending = self->total = 1;
            self->depth = 0;
        }
        int failed = framer_scan(self);
        if (!failed && self->pos - self->start > self->bounds[B_MESSAGE])
            failed = framer_too_large(self, 0, self->bounds[B_MESSAGE]);
        if (failed && self->dead == NULL)
            return NULL;
    }
    if (self->dead != NULL) {
        framer_drop(self);
        PyErr_SetObject(self->dead, self->dead_args);
        return NULL;
    }
    if (self->pending > 0 || self->pos > self->used)
        Py_RETURN_NONE;
    PyObject *message;
    if (self->chunk != NULL && self->start == 0 && self->pos == self->used)
        message = Py_NewRef(self->chunk);
    else
        message = PyBytes_FromStringAndSize((const char *)framer_data(self) + self->start, self->pos - self->start);
    if (message == NULL)
        return NULL;
    self->total = 0;
    self->start = self->pos;
    if (self->start == self->used)
        framer_drop(self);
    return message;
}

static PyObject *
framer_held(Framer *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(self->used - self->start);
}

static PyObject *
framer_work(Framer *self, void *Py_UNUSED(closure))
{
    return Py_BuildValue("LL", (long long)self->looked, (long long)self->moved);
}

static PyMethodDef framer_methods[] = {
    {"limit", (PyCFunction)(void (*)(void))framer_limit, METH_VARARGS | METH_KEYWORDS,
     "Other bounds, from the next message on."},
    {"feed", (PyCFunction)framer_feed, METH_O, "Take bytes in; `next` looks at them."},
    {"next", (PyCFunction)framer_next, METH_NOARGS, "The next message; None as long as it is not whole."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef framer_getset[] = {
    {"held", (getter)framer_held, NULL, "How many bytes are held.", NULL},
    {"_work", (getter)framer_work, NULL, "For tests: how many items were looked at, and how many bytes moved.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject FramerType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "pbkit.wire.codec._codec.Framer",
    .tp_doc = "Finds where messages end, and holds what has come until then.",
    .tp_basicsize = sizeof(Framer),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)framer_init,
    .tp_dealloc = (destructor)framer_dealloc,
    .tp_methods = framer_methods,
    .tp_getset = framer_getset,
};

/* ---------------------------------------------------------------------------------------------- reading */

typedef struct {
    const uint8_t *at, *end;
    int vocabulary;
    /* How many more items lists may announce: each needs a byte that is there. */
    Py_ssize_t room;
    /* Of the item whose beginning was read last: the digits of its number. */
    const uint8_t *digits;
    Py_ssize_t count;
    int large;
    /* What was given a number in this jelly, by that number; it may come again, but not in a key: the hash of a tuple is
       made of all that is in it, each time. */
    PyObject **known;
    Py_ssize_t n_known, most_known;
    int in_key;
} Reader;

/* Read the beginning of an item. Its type byte, or -1 at the end. */
static inline int
begin(Reader *r, uint64_t *n)
{
    const uint8_t *at = r->at, *end = r->end;
    uint64_t found = 0;
    int shift = 0;
    r->digits = at;
    r->large = 0;
    for (; at < end; at++) {
        uint8_t byte = *at;
        if (byte >= 0x80) {
            r->count = at - r->digits;
            r->at = at + 1;
            *n = r->large ? HUGE_NUMBER : found;
            return byte;
        }
        if (shift < 56) {
            found |= (uint64_t)byte << shift;
            shift += 7;
        } else if (byte != 0)
            r->large = 1;
    }
    return -1;
}

/* The item that was begun, if it is a number or a string of any kind; else NULL, without an exception or with one. */
static PyObject *
scalar(Reader *r, int kind, uint64_t n)
{
    switch (kind) {
    case INT:
    case LONGINT:
        return r->large ? number(r->digits, r->count, 0) : PyLong_FromLongLong((long long)n);
    case NEG:
    case LONGNEG:
        return r->large ? number(r->digits, r->count, 1) : PyLong_FromLongLong(-(long long)n);
    case STRING:
        if (n > (uint64_t)(r->end - r->at))
            return NULL;
        r->at += n;
        return PyBytes_FromStringAndSize((const char *)r->at - n, (Py_ssize_t)n);
    case VOCAB:
        return r->vocabulary && n > 0 && n < N_WORDS ? Py_NewRef(word_objects[n]) : NULL;
    case FLOAT:
        if (r->end - r->at < 8)
            return NULL;
        r->at += 8;
        double value = PyFloat_Unpack8((const char *)r->at - 8, 0);
        return value == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(value);
    default:
        return NULL;
    }
}

static PyObject *
malformed(const char *why)
{
    if (!PyErr_Occurred())
        PyErr_SetString(Malformed, why);
    return NULL;
}

typedef struct {
    PyObject *list;
    Py_ssize_t next;
} Level;

/* One whole message, as Banana has it; however deep, no call is made within a call. */
static PyObject *
read_expression(Reader *r)
{
    /* Each level's list is owned by the one before; the first is of one element. */
    Py_ssize_t depth = 1, levels_room = 32;
    PyObject *found = NULL, *top = PyList_New(1);
    Level *levels = PyMem_Malloc((size_t)levels_room * sizeof(Level));
    if (top == NULL || levels == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    levels[0] = (Level){top, 0};
    while (depth > 0) {
        Level *level = &levels[depth - 1];
        if (level->next == PyList_GET_SIZE(level->list)) {
            depth--;
            continue;
        }
        uint64_t n = 0;
        int kind = begin(r, &n);
        PyObject *item;
        if (kind == LIST) {
            if (n > (uint64_t)r->room) {
                malformed("not one whole message");
                goto end;
            }
            r->room -= (Py_ssize_t)n;
            item = PyList_New((Py_ssize_t)n);
        } else
            item = scalar(r, kind, n);
        if (item == NULL) {
            if (kind > VOCAB)
                PyErr_Format(Malformed, "no type of Banana's: 0x%02x", kind);
            else if (kind == VOCAB && !r->vocabulary)
                malformed("no vocabulary is agreed on");
            else if (kind == VOCAB)
                malformed("no word of the vocabulary");
            else
                malformed("not one whole message");
            goto end;
        }
        PyList_SET_ITEM(level->list, level->next++, item);
        if (kind == LIST && n > 0) {
            if (depth == levels_room) {
                Level *more = PyMem_Realloc(levels, (size_t)levels_room * 2 * sizeof(Level));
                if (more == NULL) {
                    PyErr_NoMemory();
                    goto end;
                }
                levels = more;
                levels_room *= 2;
            }
            levels[depth++] = (Level){item, 0};
        }
    }
    if (r->at != r->end) {
        malformed("not one whole message");
        goto end;
    }
    found = Py_NewRef(PyList_GET_ITEM(top, 0));
end:
    PyMem_Free(levels);
    Py_XDECREF(top);
    return found;
}

enum { A_LIST, A_TUPLE, A_DICT, A_SET, A_FROZENSET, A_NONE, A_UNICODE, A_BOOLEAN, A_REFERENCE, A_DEREFERENCE };

/* So many bytes the message has at least for each thing that has a number, so that numbers are no higher. */
enum { FOR_EACH_KNOWN = 4 };

/* Read a word or string of Banana's: where its bytes are, or NULL. */
static const char *
text_of(Reader *r, Py_ssize_t *length)
{
    uint64_t n;
    int kind = begin(r, &n);
    if (kind == STRING && n <= (uint64_t)(r->end - r->at)) {
        r->at += n;
        *length = (Py_ssize_t)n;
        return (const char *)r->at - n;
    }
    if (kind == VOCAB && r->vocabulary && n > 0 && n < N_WORDS) {
        *length = PyBytes_GET_SIZE(word_objects[n]);
        return WORDS[n];
    }
    return NULL;
}

static int
is(const char *text, Py_ssize_t length, const char *word)
{
    return (size_t)length == strlen(word) && memcmp(text, word, (size_t)length) == 0;
}

/* Read what a list of jelly begins with; -1 if it is nothing plain. */
static int
read_head(Reader *r)
{
    Py_ssize_t length;
    const char *text = text_of(r, &length);
    if (text == NULL)
        return -1;
    switch (length) {
    case 3:
        return is(text, length, "set") ? A_SET : -1;
    case 4:
        return is(text, length, "list") ? A_LIST : is(text, length, "None") ? A_NONE : -1;
    case 5:
        return is(text, length, "tuple") ? A_TUPLE : -1;
    case 7:
        return is(text, length, "unicode") ? A_UNICODE : is(text, length, "boolean") ? A_BOOLEAN : -1;
    case 9:
        return is(text, length, "frozenset") ? A_FROZENSET : is(text, length, "reference") ? A_REFERENCE : -1;
    case 10:
        return is(text, length, "dictionary") ? A_DICT : -1;
    case 11:
        return is(text, length, "dereference") ? A_DEREFERENCE : -1;
    default:
        return -1;
    }
}

/* ---------------------------------------------------------------------------------------------- crowded keys */

/* As in pbkit/wire/codec/hashflood.py, which says why, and where the numbers come from. */
enum { PLACES = 64, FREE_PLACES = 4096, NEIGHBOURS = 9, THEY_COUNT = 4, SMALLEST = 128 };

/* Leave the hashes of those keys that differ, in their order. How many; or -1 if too many have one hash, or on error. */
static Py_ssize_t
distinct(PyObject *const *keys, Py_ssize_t count, Py_ssize_t step, Py_hash_t *hashes)
{
    int bits = 1;
    while (((Py_ssize_t)1 << bits) < 2 * count)
        bits++;
    const size_t mask = ((size_t)1 << bits) - 1;
    Py_ssize_t found = 0, again = 0;
    /* For each place the number of the key that is there, counted from 1; 0 where there is none. */
    uint32_t *table = PyMem_Calloc(mask + 1, sizeof(uint32_t));
    /* Which key it is that has the hash. */
    uint32_t *whose = PyMem_Malloc((size_t)count * sizeof(uint32_t));
    if (table == NULL || whose == NULL) {
        PyErr_NoMemory();
        found = -1;
    }
    for (Py_ssize_t k = 0; found >= 0 && k < count; k++) {
        PyObject *key = keys[k * step];
        Py_hash_t hash = PyObject_Hash(key);
        int same = hash == -1 ? -1 : 0, met = 0;
        size_t place = (size_t)((((uint64_t)hash ^ secret) * (secret | 1)) >> (64 - bits));
        for (; same == 0 && table[place] != 0; place = (place + 1) & mask) {
            if (hashes[table[place] - 1] != hash)
                continue;
            again += !met;
            met = 1;
            same = again > COLLISIONS ? -1 : PyObject_RichCompareBool(keys[whose[table[place] - 1] * step], key, Py_EQ);
        }
        if (same < 0)
            found = -1;
        else if (same == 0) {
            whose[found] = (uint32_t)k;
            hashes[found++] = hash;
            table[place] = (uint32_t)found;
        }
    }
    PyMem_Free(table);
    PyMem_Free(whose);
    return found;
}

/* Into a dict of each size that it may have on its way. 1: it takes too long; -1 on error. */
static int
crowd_dicts(const Py_hash_t *hashes, Py_ssize_t count, Py_ssize_t keys)
{
    size_t size = SMALLEST;
    while (size < 3 * (size_t)keys)
        size *= 2;
    uint8_t *taken = PyMem_Malloc(size);
    if (taken == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int64_t left = 0;
    for (; left >= 0 && size >= SMALLEST; size /= 2) {
        const size_t mask = size - 1;
        const Py_ssize_t most = Py_MIN(count, (Py_ssize_t)(size * 2 / 3));
        memset(taken, 0, size);
        left = FREE_PLACES;
        for (Py_ssize_t k = 0; left >= 0 && k < most; k++) {
            size_t perturb = (size_t)hashes[k], at = perturb & mask;
            left += PLACES;
            for (; taken[at]; left--) {
                perturb >>= 5;
                at = (at * 5 + perturb + 1) & mask;
            }
            taken[at] = 1;
        }
    }
    PyMem_Free(taken);
    return left < 0;
}

/* Put it at its place in a set, where -1 means that there is none; no hash is -1. Less than 0: it takes too long. */
static inline int64_t
set_place(Py_hash_t *table, size_t mask, Py_hash_t hash, int64_t left)
{
    size_t perturb = (size_t)hash, place = perturb & mask;
    for (;;) {
        /* At the end of the table there are no neighbours. */
        const size_t last = place + (place + NEIGHBOURS <= mask ? NEIGHBOURS : 0);
        for (size_t at = place; at <= last; at++) {
            if (table[at] == -1) {
                table[at] = hash;
                return left;
            }
        }
        left -= THEY_COUNT;
        if (left < 0)
            return left;
        perturb >>= 5;
        place = (place * 5 + 1 + perturb) & mask;
    }
}

/* Into a set, as it grows. 1: it takes too long; -1 on error. */
static int
crowd_set(const Py_hash_t *hashes, Py_ssize_t count)
{
    Py_hash_t *table = NULL;
    Py_ssize_t done = 0, most = 0;
    size_t size = 8, room = 0;
    int64_t left = 0;
    while (left >= 0 && count >= most) {
        /* So many fit, and with the last of them it grows. */
        most = (Py_ssize_t)((3 * (size - 1) + 4) / 5);
        Py_hash_t *next = PyMem_Malloc(size * sizeof(Py_hash_t));
        if (next == NULL) {
            PyMem_Free(table);
            PyErr_NoMemory();
            return -1;
        }
        memset(next, 0xFF, size * sizeof(Py_hash_t));
        left = FREE_PLACES;
        for (size_t at = 0; left >= 0 && at < room; at++)
            if (table[at] != -1)
                left = set_place(next, size - 1, table[at], left + PLACES);
        for (; left >= 0 && done < Py_MIN(most, count); done++)
            left = set_place(next, size - 1, hashes[done], left + PLACES);
        PyMem_Free(table);
        table = next;
        room = size;
        for (size = 8; size <= (size_t)most * (most > 50000 ? 2 : 4);)
            size *= 2;
    }
    PyMem_Free(table);
    return left < 0;
}

/* Whether a dict or a set of these keys, each `step` places after the last, would take too long; -1 on error. */
static int
crowded(PyObject *const *keys, Py_ssize_t count, Py_ssize_t step, int members)
{
    Py_ssize_t texts = 0;
    if (count <= COLLISIONS)
        return 0;
    while (texts < count && (PyUnicode_CheckExact(keys[texts * step]) || PyBytes_CheckExact(keys[texts * step])))
        texts++;
    if (texts == count)
        return 0;
    if (count > (Py_ssize_t)1 << 30)
        return 1;
    Py_hash_t *hashes = PyMem_Malloc((size_t)count * sizeof(Py_hash_t));
    if (hashes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int result;
    Py_ssize_t different = distinct(keys, count, step, hashes);
    if (different < 0)
        result = PyErr_Occurred() ? -1 : 1;
    else
        result = members ? crowd_set(hashes, different) : crowd_dicts(hashes, different, count);
    PyMem_Free(hashes);
    return result;
}

/* ---------------------------------------------------------------------------------------------- plain values */

static PyObject *read_value(Reader *r, int deeper);

/* The same few keys of dicts come again and again. The last short one of each hash is kept: found here it has to be
   neither made nor hashed. Whoever sends others each time takes the place of some, and no more than that. */
enum { KEYS = 512, LONGEST_KEY = 32 };
static PyObject *keys[KEYS];

static PyObject *
key_of(const char *text, Py_ssize_t length)
{
    uint64_t head = 0, tail = 0;
    if (length == 0 || length > LONGEST_KEY)
        return PyUnicode_DecodeUTF8(text, length, NULL);
    Py_ssize_t some = Py_MIN(length, 8);
    memcpy(&head, text, (size_t)some);
    memcpy(&tail, text + length - some, (size_t)some);
    uint64_t mixed = (head ^ (tail * 0x9E3779B97F4A7C15u) ^ (uint64_t)length) * 0xD6E8FEB86659FD93u;
    PyObject **place = &keys[mixed >> 55], *found = *place;
    if (found != NULL && PyUnicode_GET_LENGTH(found) == length
        && memcmp(PyUnicode_1BYTE_DATA(found), text, (size_t)length) == 0)
        return Py_NewRef(found);
    found = PyUnicode_DecodeUTF8(text, length, NULL);
    if (found != NULL && PyUnicode_IS_COMPACT_ASCII(found))
        Py_XSETREF(*place, Py_NewRef(found));
    return found;
}

/* Read the key of a dict, which mostly is a text. */
static PyObject *
read_key(Reader *r, int deeper)
{
    static const char TEXT[] = "\x02\x80\x07\x82unicode";
    if (r->end - r->at <= 11 || memcmp(r->at, TEXT, 11) != 0) {
        r->in_key++;
        PyObject *found = read_value(r, deeper);
        r->in_key--;
        return found;
    }
    Py_ssize_t length;
    r->at += 11;
    const char *text = (r->room -= 2) < 0 ? NULL : text_of(r, &length);
    return text == NULL ? NULL : key_of(text, length);
}

/* Read so many values into places of the caller's, which are NULL. 0, or -1: those that were read are the caller's. */
static int
read_values(Reader *r, PyObject **into, Py_ssize_t count, int deeper)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        into[i] = read_value(r, deeper);
        if (into[i] == NULL)
            return -1;
    }
    return 0;
}

static PyObject *
read_dict(Reader *r, Py_ssize_t pairs, int deeper)
{
    /* Keys and values by turns. Few are put into the dict one by one; of many the hashes are looked at first. */
    PyObject *found = PyDict_New(), *few[2 * COLLISIONS], **items = few;
    Py_ssize_t done = 0;
    if (found != NULL && pairs > COLLISIONS && (items = PyMem_Calloc((size_t)pairs * 2, sizeof(PyObject *))) == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(found);
    }
    for (; found != NULL && done < pairs; done++) {
        uint64_t n;
        items[2 * done] = items[2 * done + 1] = NULL;
        if (begin(r, &n) != LIST || n != 2 || (r->room -= 2) < 0
            || (items[2 * done] = read_key(r, deeper)) == NULL
            || (items[2 * done + 1] = read_value(r, deeper)) == NULL) {
            Py_XDECREF(items[2 * done]);
            Py_CLEAR(found);
            break;
        }
    }
    if (found != NULL && crowded(items, pairs, 2, 0) != 0)
        Py_CLEAR(found);
    for (Py_ssize_t i = 0; i < done; i++) {
        if (found != NULL && PyDict_SetItem(found, items[2 * i], items[2 * i + 1]) < 0)
            Py_CLEAR(found);
        Py_DECREF(items[2 * i]);
        Py_DECREF(items[2 * i + 1]);
    }
    if (items != few)
        PyMem_Free(items);
    return found;
}

static PyObject *
read_set(Reader *r, Py_ssize_t count, int frozen, int deeper)
{
    PyObject *found = NULL, *items = PyTuple_New(count);
    if (items == NULL)
        return NULL;
    PyObject **all = count > 0 ? &PyTuple_GET_ITEM(items, 0) : NULL;
    r->in_key++;
    int right = read_values(r, all, count, deeper) == 0;
    r->in_key--;
    if (right && crowded(all, count, 1, 1) == 0)
        found = frozen ? PyFrozenSet_New(items) : PySet_New(items);
    Py_DECREF(items);
    return found;
}

static PyObject *read_list(Reader *r, uint64_t n, int deeper);

/* Read the number of something that is there more than once; -1 if it is none of ours. */
static Py_ssize_t
read_known(Reader *r)
{
    uint64_t n;
    return begin(r, &n) == INT && n < (uint64_t)r->most_known ? (Py_ssize_t)n : -1;
}

/* Read a list, tuple, dict or set that is given a number. */
static PyObject *
read_reference(Reader *r, int deeper)
{
    uint64_t n;
    Py_ssize_t number = read_known(r);
    if (number < 0 || begin(r, &n) != LIST)
        return NULL;
    Reader ahead = *r;
    int head = read_head(&ahead);
    if (head < A_LIST || head > A_FROZENSET)
        return NULL;
    PyObject *found = read_list(r, n, deeper);
    if (found == NULL)
        return NULL;
    if (number >= r->n_known) {
        Py_ssize_t more = Py_MIN(2 * number + 8, r->most_known);
        PyObject **known = PyMem_Realloc(r->known, (size_t)more * sizeof(PyObject *));
        if (known == NULL) {
            Py_DECREF(found);
            return PyErr_NoMemory();
        }
        memset(known + r->n_known, 0, (size_t)(more - r->n_known) * sizeof(PyObject *));
        r->known = known;
        r->n_known = more;
    }
    if (r->known[number] != NULL) {
        Py_DECREF(found);
        return NULL;
    }
    r->known[number] = Py_NewRef(found);
    return found;
}

/* Read a number in the place of what was given it before. */
static PyObject *
read_dereference(Reader *r)
{
    Py_ssize_t number = read_known(r);
    if (number < 0 || number >= r->n_known || r->in_key)
        return NULL;
    return Py_XNewRef(r->known[number]);
}

/* Numbers are given for one jelly: arguments, keywords, or an answer. */
static void
forget_known(Reader *r)
{
    for (Py_ssize_t i = 0; i < r->n_known; i++)
        Py_XDECREF(r->known[i]);
    PyMem_Free(r->known);
    r->known = NULL;
    r->n_known = 0;
}

/* Read a list of jelly, of which so many elements were announced. */
static PyObject *
read_list(Reader *r, uint64_t n, int deeper)
{
    PyObject *found;
    const char *text;
    Py_ssize_t length;
    if (n == 0 || n > (uint64_t)r->room)
        return NULL;
    r->room -= (Py_ssize_t)n;
    int head;
    if (n == 2 && r->end - r->at > 9 && memcmp(r->at, "\x07\x82unicode", 9) == 0) {
        head = A_UNICODE;
        r->at += 9;
    } else
        head = read_head(r);
    Py_ssize_t count = (Py_ssize_t)n - 1;
    if (head == A_UNICODE) {
        if (count != 1 || (text = text_of(r, &length)) == NULL)
            return NULL;
        return PyUnicode_DecodeUTF8(text, length, NULL);
    }
    if (head == A_NONE)
        return count == 0 ? Py_NewRef(Py_None) : NULL;
    if (head == A_BOOLEAN) {
        if (count != 1 || (text = text_of(r, &length)) == NULL)
            return NULL;
        return is(text, length, "true") ? Py_NewRef(Py_True) : is(text, length, "false") ? Py_NewRef(Py_False) : NULL;
    }
    if (head < 0 || deeper == 0)
        return NULL;
    if (head == A_REFERENCE)
        return count == 2 ? read_reference(r, deeper) : NULL;
    if (head == A_DEREFERENCE)
        return count == 1 ? read_dereference(r) : NULL;
    switch (head) {
    case A_LIST:
        found = PyList_New(count);
        if (found != NULL && count > 0 && read_values(r, ((PyListObject *)found)->ob_item, count, deeper - 1) < 0)
            Py_CLEAR(found);
        return found;
    case A_TUPLE:
        found = PyTuple_New(count);
        if (found != NULL && count > 0 && read_values(r, &PyTuple_GET_ITEM(found, 0), count, deeper - 1) < 0)
            Py_CLEAR(found);
        return found;
    case A_DICT:
        return read_dict(r, count, deeper - 1);
    default:
        return read_set(r, count, head == A_FROZENSET, deeper - 1);
    }
}

/* Read a plain value. NULL, with or without an exception, if it is to be left to stock. */
static PyObject *
read_value(Reader *r, int deeper)
{
    uint64_t n = 0;
    int kind = begin(r, &n);
    return kind == LIST ? read_list(r, n, deeper) : scalar(r, kind, n);
}

/* Read a header field: an int or bytes. */
static PyObject *
read_raw(Reader *r)
{
    uint64_t n = 0;
    int kind = begin(r, &n);
    return kind == FLOAT || kind == LIST ? NULL : scalar(r, kind, n);
}

static PyObject *
read_message(Reader *r)
{
    uint64_t n;
    Py_ssize_t length;
    const char *text;
    if (begin(r, &n) != LIST || (n != 7 && n != 3) || (r->room -= (Py_ssize_t)n) < 0)
        return NULL;
    if ((text = text_of(r, &length)) == NULL || !is(text, length, n == 7 ? "message" : "answer"))
        return NULL;
    PyObject *found = PyTuple_New((Py_ssize_t)n);
    if (found == NULL)
        return NULL;
#define FIELD(place, value)                                      \
    do {                                                         \
        PyObject *field = (value);                               \
        if (field == NULL) {                                     \
            Py_DECREF(found);                                    \
            return NULL;                                         \
        }                                                        \
        PyTuple_SET_ITEM(found, place, field);                   \
    } while (0)
    FIELD(0, Py_NewRef(n == 7 ? s_message : s_answer));
    FIELD(1, read_raw(r));
    if (n == 3)
        FIELD(2, read_value(r, DEEPEST));
    else {
        FIELD(2, read_raw(r));
        text = text_of(r, &length);
        FIELD(3, text == NULL ? NULL : PyUnicode_DecodeUTF8(text, length, NULL));
        FIELD(4, read_raw(r));
        FIELD(5, read_value(r, DEEPEST));
        forget_known(r);
        FIELD(6, read_value(r, DEEPEST));
    }
#undef FIELD
    int right = r->at == r->end;
    if (right && n == 7) {
        PyObject *args = PyTuple_GET_ITEM(found, 5);
        right = (PyTuple_CheckExact(args) || PyList_CheckExact(args)) && PyDict_CheckExact(PyTuple_GET_ITEM(found, 6));
    }
    if (!right)
        Py_CLEAR(found);
    return found;
}

/* The arguments of both, `message` and `vocabulary`. */
static int
reader(Reader *r, const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"message", "vocabulary"};
    PyObject *given[2];
    if (take(function, names, 1, 2, args, nargs, kwnames, given) < 0)
        return -1;
    if (!PyBytes_Check(given[0])) {
        PyErr_Format(PyExc_TypeError, "a message is bytes, not %s", Py_TYPE(given[0])->tp_name);
        return -1;
    }
    r->known = NULL;
    r->n_known = r->in_key = 0;
    r->vocabulary = given[1] == NULL ? 1 : PyObject_IsTrue(given[1]);
    r->at = (const uint8_t *)PyBytes_AS_STRING(given[0]);
    r->room = PyBytes_GET_SIZE(given[0]);
    r->end = r->at + r->room;
    r->most_known = r->room / FOR_EACH_KNOWN;
    return r->vocabulary < 0 ? -1 : 0;
}

static PyObject *
codec_decode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Reader r;
    return reader(&r, "decode", args, nargs, kwnames) < 0 ? NULL : read_expression(&r);
}

/* What was made, or None for what is left to stock, whatever came between. */
static PyObject *
or_none(PyObject *found)
{
    if (found != NULL)
        return found;
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyObject *
codec_decodePlain(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Reader r;
    if (reader(&r, "decodePlain", args, nargs, kwnames) < 0)
        return NULL;
    PyObject *found = read_message(&r);
    forget_known(&r);
    return or_none(found);
}

static PyObject *
codec_crowded(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"keys", "members"};
    PyObject *given[2];
    if (take("crowded", names, 2, 2, args, nargs, kwnames, given) < 0)
        return NULL;
    int members = PyObject_IsTrue(given[1]);
    /* A copy: a key's own method may change what was given. */
    PyObject *keys = members < 0 ? NULL : PySequence_Tuple(given[0]);
    if (keys == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(keys);
    int result = count == 0 ? 0 : crowded(&PyTuple_GET_ITEM(keys, 0), count, 1, members);
    Py_DECREF(keys);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* ---------------------------------------------------------------------------------------------- writing */

typedef struct {
    uint8_t *bytes;
    Py_ssize_t used, room;
    int vocabulary;
    Py_ssize_t string, digits;
    /* The ids of the lists, tuples, dicts and sets of this jelly: a table that is never more than half full. */
    const void **seen;
    Py_ssize_t n_seen;
    int seen_bits;
    /* Whether one came again; then all is done anew, with a number for each of these by its place in the table. Such a
       number is negative once what has it was written. */
    int again;
    int32_t *numbers;
    /* What most calls can do with. */
    uint8_t first[512];
    const void *first_seen[32];
} Writer;

static void
forget(Writer *w)
{
    if (w->seen != w->first_seen)
        PyMem_Free(w->seen);
    PyMem_Free(w->numbers);
    w->seen = w->first_seen;
    w->seen_bits = 5;
    w->n_seen = 0;
    w->again = 0;
    w->numbers = NULL;
    memset(w->first_seen, 0, sizeof(w->first_seen));
}

static void
writer(Writer *w, int vocabulary, Py_ssize_t string, Py_ssize_t digits)
{
    w->bytes = w->first;
    w->used = 0;
    w->room = sizeof(w->first);
    w->vocabulary = vocabulary;
    w->string = string;
    w->digits = digits;
    w->seen = w->first_seen;
    w->numbers = NULL;
    forget(w);
}

/* What was written, if it went well; and the end of the writer. */
static PyObject *
written(Writer *w, int result)
{
    PyObject *found = result < 0 ? NULL : PyBytes_FromStringAndSize((const char *)w->bytes, w->used);
    if (w->bytes != w->first)
        PyMem_Free(w->bytes);
    if (w->seen != w->first_seen)
        PyMem_Free(w->seen);
    PyMem_Free(w->numbers);
    return found;
}

static int
grow(Writer *w, Py_ssize_t more)
{
    if (more > PY_SSIZE_T_MAX / 2 - w->used)
        return -1;
    Py_ssize_t room = (w->used + more) * 2;
    uint8_t *bytes = PyMem_Realloc(w->bytes == w->first ? NULL : w->bytes, (size_t)room);
    if (bytes == NULL)
        return -1;
    if (w->bytes == w->first)
        memcpy(bytes, w->first, (size_t)w->used);
    w->bytes = bytes;
    w->room = room;
    return 0;
}

static inline int
ensure(Writer *w, Py_ssize_t more)
{
    return w->room - w->used >= more ? 0 : grow(w, more);
}

static inline int
put(Writer *w, const void *bytes, Py_ssize_t count)
{
    if (ensure(w, count) < 0)
        return -1;
    memcpy(w->bytes + w->used, bytes, (size_t)count);
    w->used += count;
    return 0;
}

/* A number of at most ten digits, and its type byte. */
static inline int
put_number(Writer *w, uint64_t n, int kind)
{
    if (ensure(w, 11) < 0)
        return -1;
    uint8_t *at = w->bytes + w->used;
    while (n >= 0x80) {
        *at++ = n & 0x7F;
        n >>= 7;
    }
    *at++ = (uint8_t)n;
    *at++ = (uint8_t)kind;
    w->used = at - w->bytes;
    return 0;
}

/* The number that stands for a word, or 0. */
static inline int
word_number(const Writer *w, const char *text, Py_ssize_t length)
{
    if (!w->vocabulary || length > LONGEST_WORD)
        return 0;
    for (const uint8_t *each = word_numbers[length]; *each; each++)
        if (WORDS[*each][0] == text[0] && memcmp(WORDS[*each], text, (size_t)length) == 0)
            return *each;
    return 0;
}

static int
put_string(Writer *w, const char *text, Py_ssize_t length)
{
    int word = word_number(w, text, length);
    if (word)
        return put_number(w, (uint64_t)word, VOCAB);
    if (length > w->string)
        return -1;
    return put_number(w, (uint64_t)length, STRING) < 0 ? -1 : put(w, text, length);
}

/* A word that is in the vocabulary. */
static int
put_word(Writer *w, int word)
{
    if (w->vocabulary)
        return put_number(w, (uint64_t)word, VOCAB);
    Py_ssize_t length = PyBytes_GET_SIZE(word_objects[word]);
    return put_number(w, (uint64_t)length, STRING) < 0 ? -1 : put(w, WORDS[word], length);
}

/* An int of more than 64 bits. */
static int
put_large(Writer *w, PyObject *value, int negative)
{
    int result = -1;
    Py_ssize_t count = 0;
    PyObject *left = PyNumber_Absolute(value), *shift = PyLong_FromLong(56);
    PyObject *mask = PyLong_FromUnsignedLongLong(((uint64_t)1 << 56) - 1);
    while (left != NULL && shift != NULL && mask != NULL) {
        int more = PyObject_IsTrue(left);
        if (more <= 0) {
            result = more;
            break;
        }
        PyObject *part = PyNumber_And(left, mask);
        if (part == NULL)
            break;
        uint64_t low = PyLong_AsUnsignedLongLong(part);
        Py_DECREF(part);
        Py_SETREF(left, PyNumber_Rshift(left, shift));
        if (left == NULL || ensure(w, 9) < 0 || count > w->digits)
            break;
        for (int i = 0; i < 8; i++, low >>= 7, count++)
            w->bytes[w->used++] = low & 0x7F;
    }
    Py_XDECREF(left);
    Py_XDECREF(shift);
    Py_XDECREF(mask);
    if (result < 0)
        return -1;
    while (w->bytes[w->used - 1] == 0) {
        w->used--;
        count--;
    }
    if (count > w->digits)
        return -1;
    w->bytes[w->used++] = negative ? LONGNEG : LONGINT;
    return 0;
}

static int
put_int(Writer *w, PyObject *value)
{
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow)
        return put_large(w, value, overflow < 0);
    if (n == -1 && PyErr_Occurred())
        return -1;
    uint64_t size = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    if (w->digits < 10 && size >> (7 * w->digits) != 0)
        return -1;
    if (n >= 0)
        return put_number(w, size, n < 0x80000000LL ? INT : LONGINT);
    return put_number(w, size, n >= -0x80000000LL ? NEG : LONGNEG);
}

static int
put_float(Writer *w, PyObject *value)
{
    if (ensure(w, 9) < 0)
        return -1;
    w->bytes[w->used++] = FLOAT;
    if (PyFloat_Pack8(PyFloat_AS_DOUBLE(value), (char *)w->bytes + w->used, 0) < 0)
        return -1;
    w->used += 8;
    return 0;
}

static int
put_text(Writer *w, PyObject *value)
{
    if (put(w, "\x02\x80\x07\x82unicode", 11) < 0)
        return -1;
    if (PyUnicode_IS_COMPACT_ASCII(value))
        return put_string(w, PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value));
    /* Not PyUnicode_AsUTF8AndSize: the bytes would stay with the text for as long as that lives. */
    PyObject *raw = PyUnicode_AsUTF8String(value);
    if (raw == NULL)
        return -1;
    int result = put_string(w, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw));
    Py_DECREF(raw);
    return result;
}

static inline const void **
seen_slot(const void **seen, int bits, const void *id)
{
    size_t slot = (size_t)(((uint64_t)(uintptr_t)id * 0x9E3779B97F4A7C15u) >> (64 - bits));
    while (seen[slot] != NULL && seen[slot] != id)
        slot = (slot + 1) & (((size_t)1 << bits) - 1);
    return &seen[slot];
}

/* Have room for one more in the table. */
static int
widen(Writer *w)
{
    if (2 * w->n_seen < (Py_ssize_t)1 << w->seen_bits)
        return 0;
    int bits = w->seen_bits + 2;
    const void **more = PyMem_Calloc((size_t)1 << bits, sizeof(void *));
    int32_t *numbers = w->numbers == NULL ? NULL : PyMem_Calloc((size_t)1 << bits, sizeof(int32_t));
    if (more == NULL || (w->numbers != NULL && numbers == NULL)) {
        PyMem_Free(more);
        PyMem_Free(numbers);
        return -1;
    }
    for (Py_ssize_t i = 0; i < (Py_ssize_t)1 << w->seen_bits; i++) {
        if (w->seen[i] == NULL)
            continue;
        const void **slot = seen_slot(more, bits, w->seen[i]);
        *slot = w->seen[i];
        if (numbers != NULL)
            numbers[slot - more] = w->numbers[i];
    }
    if (w->seen != w->first_seen)
        PyMem_Free(w->seen);
    PyMem_Free(w->numbers);
    w->seen = more;
    w->seen_bits = bits;
    w->numbers = numbers;
    return 0;
}

/* Note a container; -1 if it was there before. */
static int
note(Writer *w, const void *id)
{
    if (widen(w) < 0)
        return -1;
    const void **slot = seen_slot(w->seen, w->seen_bits, id);
    if (*slot != NULL) {
        w->again = 1;
        return -1;
    }
    *slot = id;
    w->n_seen++;
    return 0;
}

static int write_value(Writer *w, PyObject *value, int deeper);

/* Take over an element and write it. */
static inline int
write_owned(Writer *w, PyObject *value, int deeper)
{
    int result = write_value(w, value, deeper);
    Py_DECREF(value);
    return result;
}

static int
write_dict(Writer *w, PyObject *value, Py_ssize_t n, int deeper)
{
    PyObject *key, *of;
    Py_ssize_t place = 0;
    while (PyDict_Next(value, &place, &key, &of)) {
        Py_INCREF(of);
        int result = put(w, "\x02\x80", 2) < 0 || write_owned(w, Py_NewRef(key), deeper) < 0;
        if (result)
            Py_DECREF(of);
        else
            result = write_owned(w, of, deeper) < 0;
        if (result || n-- == 0)
            return -1;
    }
    return n == 0 ? 0 : -1;
}

static int
write_set(Writer *w, PyObject *value, Py_ssize_t n, int deeper)
{
    PyObject *each, *all = PyObject_GetIter(value);
    if (all == NULL)
        return -1;
    while (n >= 0 && (each = PyIter_Next(all)) != NULL)
        n = write_owned(w, each, deeper) < 0 ? -1 : n - 1;
    Py_DECREF(all);
    return n == 0 && !PyErr_Occurred() ? 0 : -1;
}

/* Where something is there more than once: its number, before it or in its place. 1 if that is all; -1 on error. */
static int
write_number(Writer *w, PyObject *value)
{
    const void **slot = seen_slot(w->seen, w->seen_bits, value);
    if (*slot == NULL)
        return -1; /* It was not there when they were counted. */
    int32_t *number = &w->numbers[slot - w->seen];
    if (*number == 0)
        return 0;
    int first = *number > 0;
    if (put(w, first ? "\x03\x80" : "\x02\x80", 2) < 0 || put_word(w, first ? W_REFERENCE : W_DEREFERENCE) < 0
        || put_number(w, (uint64_t)(first ? *number : -*number), INT) < 0)
        return -1;
    if (!first)
        return 1;
    *number = -*number;
    return 0;
}

static int
write_container(Writer *w, PyObject *value, int deeper)
{
    Py_ssize_t n;
    int word = 0;
    if (PyList_CheckExact(value)) {
        n = PyList_GET_SIZE(value);
        word = W_LIST;
    } else if (PyTuple_CheckExact(value)) {
        n = PyTuple_GET_SIZE(value);
        word = W_TUPLE;
    } else if (PyDict_CheckExact(value)) {
        n = PyDict_GET_SIZE(value);
        word = W_DICTIONARY;
    } else if (PyAnySet_CheckExact(value))
        n = PySet_GET_SIZE(value);
    else
        return -1;
    if (deeper == 0 || n >= w->string)
        return -1;
    if (w->numbers == NULL) {
        if (note(w, value) < 0)
            return -1;
    } else {
        int repeated = write_number(w, value);
        if (repeated != 0)
            return repeated < 0 ? -1 : 0;
    }
    if (put_number(w, (uint64_t)n + 1, LIST) < 0)
        return -1;
    if (word == 0) {
        if (PyFrozenSet_CheckExact(value) ? put(w, "\x09\x82" "frozenset", 11) : put(w, "\x03\x82" "set", 5))
            return -1;
        return write_set(w, value, n, deeper - 1);
    }
    if (put_word(w, word) < 0)
        return -1;
    if (word == W_DICTIONARY)
        return write_dict(w, value, n, deeper - 1);
    for (Py_ssize_t i = 0; i < n; i++) {
        if (word == W_LIST && PyList_GET_SIZE(value) != n)
            return -1;
        PyObject *each = word == W_LIST ? PyList_GET_ITEM(value, i) : PyTuple_GET_ITEM(value, i);
        if (write_owned(w, Py_NewRef(each), deeper - 1) < 0)
            return -1;
    }
    return 0;
}

/* Write a plain value as jelly has it. -1, with or without an exception, if it is to be left to stock. */
static int
write_value(Writer *w, PyObject *value, int deeper)
{
    if (PyUnicode_CheckExact(value))
        return put_text(w, value);
    if (PyLong_CheckExact(value))
        return put_int(w, value);
    if (PyFloat_CheckExact(value))
        return put_float(w, value);
    if (PyBytes_CheckExact(value))
        return put_string(w, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    if (value == Py_None)
        return put(w, "\x01\x80", 2) < 0 ? -1 : put_word(w, W_NONE);
    if (value == Py_True)
        return put(w, "\x02\x80\x07\x82" "boolean\x04\x82true", 17);
    if (value == Py_False)
        return put(w, "\x02\x80\x07\x82" "boolean\x05\x82" "false", 18);
    return write_container(w, value, deeper);
}

typedef struct {
    Writer *w;
    int32_t next;
} Count;

static int count_value(Count *c, PyObject *value, int deeper);

/* Take over an element and count it: between two of them somebody's code may run, if garbage is collected. */
static int
count_owned(Count *c, PyObject *value, int deeper)
{
    int result = count_value(c, value, deeper);
    Py_DECREF(value);
    return result;
}

/* Give a number to each that comes again, in the order in which they do, as jelly does. Into each it is gone once. */
static int
count_value(Count *c, PyObject *value, int deeper)
{
    Writer *w = c->w;
    PyObject *each, *of;
    if (!PyList_CheckExact(value) && !PyTuple_CheckExact(value) && !PyDict_CheckExact(value) && !PyAnySet_CheckExact(value))
        return 0;
    const void **slot = seen_slot(w->seen, w->seen_bits, value);
    if (*slot != NULL) {
        int32_t *number = &w->numbers[slot - w->seen];
        if (*number == 0)
            *number = ++c->next;
        return 0;
    }
    if (deeper == 0 || note(w, value) < 0)
        return -1;
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        int list = PyList_CheckExact(value);
        for (Py_ssize_t i = 0; i < Py_SIZE(value); i++)
            if (count_owned(c, Py_NewRef(list ? PyList_GET_ITEM(value, i) : PyTuple_GET_ITEM(value, i)), deeper - 1) < 0)
                return -1;
        return 0;
    }
    if (PyDict_CheckExact(value)) {
        Py_ssize_t place = 0;
        while (PyDict_Next(value, &place, &each, &of)) {
            Py_INCREF(of);
            int result = count_owned(c, Py_NewRef(each), deeper - 1);
            if ((count_owned(c, of, deeper - 1) | result) < 0)
                return -1;
        }
        return 0;
    }
    int result = 0;
    PyObject *all = PyObject_GetIter(value);
    if (all == NULL)
        return -1;
    while (result == 0 && (each = PyIter_Next(all)) != NULL)
        result = count_owned(c, each, deeper - 1);
    Py_DECREF(all);
    return PyErr_Occurred() ? -1 : result;
}

/* Write a plain value that is a jelly by itself: what is in it twice is sent once. */
static int
write_jelly(Writer *w, PyObject *value)
{
    Py_ssize_t start = w->used;
    if (w->n_seen > 0 || w->numbers != NULL)
        forget(w);
    if (write_value(w, value, DEEPEST) == 0)
        return 0;
    if (!w->again || PyErr_Occurred())
        return -1;
    /* It was written in vain up to there; that is rare, and costs no more than it would to look beforehand. */
    forget(w);
    w->used = start;
    Count c = {w, 0};
    w->numbers = PyMem_Calloc((size_t)1 << w->seen_bits, sizeof(int32_t));
    if (w->numbers == NULL || count_value(&c, value, DEEPEST) < 0)
        return -1;
    return write_value(w, value, DEEPEST);
}

/* Write a header field: an int, a bool or bytes. */
static int
write_raw(Writer *w, PyObject *value)
{
    if (PyLong_CheckExact(value) || PyBool_Check(value))
        return put_int(w, value);
    return PyBytes_CheckExact(value) ? put_string(w, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)) : -1;
}

/* Write an expression of Banana's; -1 for anything but exact types, or if it is too deep or too large. */
static int
write_expression(Writer *w, PyObject *value, int deeper)
{
    int list = PyList_CheckExact(value);
    if (!list && !PyTuple_CheckExact(value))
        return PyFloat_CheckExact(value) ? put_float(w, value) : write_raw(w, value);
    Py_ssize_t n = Py_SIZE(value);
    if (deeper == 0 || n > w->string || put_number(w, (uint64_t)n, LIST) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (list && PyList_GET_SIZE(value) != n)
            return -1;
        PyObject *each = Py_NewRef(list ? PyList_GET_ITEM(value, i) : PyTuple_GET_ITEM(value, i));
        int result = write_expression(w, each, deeper - 1);
        Py_DECREF(each);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int
write_name(Writer *w, PyObject *name)
{
    if (!PyUnicode_CheckExact(name))
        return PyBytes_CheckExact(name) ? write_raw(w, name) : -1;
    PyObject *raw = PyUnicode_AsUTF8String(name);
    if (raw == NULL)
        return -1;
    int result = write_raw(w, raw);
    Py_DECREF(raw);
    return result;
}

/* Name, answerRequired, args, kw. */
static int
write_tail(Writer *w, PyObject *const *parts)
{
    if (!PyTuple_CheckExact(parts[2]) || !PyDict_CheckExact(parts[3]))
        return -1;
    if (write_name(w, parts[0]) < 0 || write_raw(w, parts[1]) < 0 || write_jelly(w, parts[2]) < 0)
        return -1;
    return write_jelly(w, parts[3]);
}

/* Prefix, requestID, objectID. */
static int
write_ids(Writer *w, PyObject *const *parts)
{
    PyObject *prefix = parts[0];
    if (!PyBytes_Check(prefix))
        return -1;
    int word = PyBytes_GET_SIZE(prefix) == 0 ? W_MESSAGE
               : is(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix), "cache") ? W_CACHEMESSAGE
                                                                                  : 0;
    if (word == 0 || put(w, "\x07\x80", 2) < 0 || put_word(w, word) < 0 || write_raw(w, parts[1]) < 0)
        return -1;
    return write_raw(w, parts[2]);
}

/* The last three arguments of each writer: vocabulary, string and maybe digits. */
static int
writer_for(Writer *w, PyObject *const *given)
{
    int vocabulary = PyObject_IsTrue(given[0]);
    Py_ssize_t string = PyLong_AsSsize_t(given[1]);
    Py_ssize_t digits = given[2] == NULL ? 64 : PyLong_AsSsize_t(given[2]);
    if (vocabulary < 0 || ((string == -1 || digits == -1) && PyErr_Occurred()))
        return -1;
    if (string < 0 || digits < 0) {
        PyErr_SetString(PyExc_ValueError, "a bound is 0 or more");
        return -1;
    }
    writer(w, vocabulary, string, digits);
    return 0;
}

#define SIGNATURE PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames
/* Take `count` arguments, the last three as above, and make a writer for them. */
#define BEGIN(name, count, ...)                                                             \
    static const char *const names[] = {__VA_ARGS__, "vocabulary", "string", "digits"};     \
    PyObject *given[count];                                                                 \
    Writer w;                                                                               \
    if (take(name, names, (count) - 1, count, args, nargs, kwnames, given) < 0              \
        || writer_for(&w, given + (count) - 3) < 0)                                         \
        return NULL;

static PyObject *
codec_encode(SIGNATURE)
{
    BEGIN("encode", 4, "expression")
    PyObject *found = written(&w, write_expression(&w, given[0], DEEPEST));
    if (found != NULL)
        return found;
    /* What is odd, too deep or too large: what is to come of it, or which error, is said in one place. */
    PyErr_Clear();
    return PyObject_Vectorcall(pure_encode, args, (size_t)nargs, kwnames);
}

static PyObject *
codec_encodePlain(SIGNATURE)
{
    BEGIN("encodePlain", 4, "value")
    return or_none(written(&w, write_jelly(&w, given[0])));
}

static PyObject *
codec_encodeAnswer(SIGNATURE)
{
    BEGIN("encodeAnswer", 5, "requestID", "value")
    int result = put(&w, "\x03\x80", 2) < 0 || put_word(&w, W_ANSWER) < 0 || write_raw(&w, given[0]) < 0;
    return or_none(written(&w, result ? -1 : write_jelly(&w, given[1])));
}

static PyObject *
codec_encodeTail(SIGNATURE)
{
    BEGIN("encodeTail", 7, "name", "answerRequired", "args", "kw")
    return or_none(written(&w, write_tail(&w, given)));
}

static PyObject *
codec_encodeCall(SIGNATURE)
{
    BEGIN("encodeCall", 10, "prefix", "requestID", "objectID", "name", "answerRequired", "args", "kw")
    return or_none(written(&w, write_ids(&w, given) < 0 ? -1 : write_tail(&w, given + 3)));
}

static PyObject *
codec_splice(SIGNATURE)
{
    BEGIN("splice", 7, "prefix", "requestID", "objectID", "tail")
    if (!PyBytes_Check(given[3])) {
        PyErr_Format(PyExc_TypeError, "a tail is bytes, not %s", Py_TYPE(given[3])->tp_name);
        return NULL;
    }
    int result = write_ids(&w, given);
    return or_none(
        written(&w, result < 0 ? -1 : put(&w, PyBytes_AS_STRING(given[3]), PyBytes_GET_SIZE(given[3]))));
}

/* ---------------------------------------------------------------------------------------------- the module */

#define METHOD(name, doc) {#name, (PyCFunction)(void (*)(void))codec_##name, METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef methods[] = {
    METHOD(crowded, "Whether a dict or a set of these keys takes more time than in proportion to their number."),
    METHOD(decode, "What stock's Banana makes of a message."),
    METHOD(decodePlain, "What a call or an answer says, if all in it is plain; else None."),
    METHOD(encode, "What stock's Banana writes for an expression."),
    METHOD(encodeAnswer, "A whole answer, or None."),
    METHOD(encodeCall, "A whole call, or None."),
    METHOD(encodePlain, "One value alone, or None."),
    METHOD(encodeTail, "What is the same in a call that goes to many, or None."),
    METHOD(splice, "A call: a tail, with the ids that differ from one connection to the next."),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pbkit.wire.codec._codec",
    .m_doc = "The codec, compiled. See pbkit.wire.codec.pure for what each thing promises.",
    .m_size = -1,
    .m_methods = methods,
};

static int
prepare(void)
{
    PyObject *errors = PyImport_ImportModule("pbkit.errors");
    PyObject *pure = errors == NULL ? NULL : PyImport_ImportModule("pbkit.wire.codec.pure");
    if (pure != NULL) {
        TooLarge = PyObject_GetAttrString(errors, "TooLarge");
        Malformed = PyObject_GetAttrString(errors, "Malformed");
        pure_encode = PyObject_GetAttrString(pure, "encode");
    }
    Py_XDECREF(errors);
    Py_XDECREF(pure);
    s_message = PyUnicode_InternFromString("message");
    s_answer = PyUnicode_InternFromString("answer");
    if (TooLarge == NULL || Malformed == NULL || pure_encode == NULL || s_message == NULL || s_answer == NULL)
        return -1;
    for (int i = 1; i < N_WORDS; i++) {
        size_t length = strlen(WORDS[i]);
        uint8_t *at = word_numbers[length];
        while (*at)
            at++;
        *at = (uint8_t)i;
        word_objects[i] = PyBytes_FromString(WORDS[i]);
        if (word_objects[i] == NULL)
            return -1;
    }
    /* Of text hashes are made with a key that each process chooses for itself. */
    secret = (uint64_t)PyObject_Hash(s_message) * 0x9E3779B97F4A7C15u;
    return PyErr_Occurred() ? -1 : 0;
}

PyMODINIT_FUNC
PyInit__codec(void)
{
    if (PyType_Ready(&FramerType) < 0 || prepare() < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddObjectRef(module, "Framer", (PyObject *)&FramerType) < 0)
        Py_CLEAR(module);
    return module;
}
