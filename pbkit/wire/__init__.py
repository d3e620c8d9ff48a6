"""
Bytes: connections, channels, references. Knows no session.

- `broker`: one connection. Brings each message to the channel, or the table, that it is for
- `channel`: one session's part of a connection, and its end
- `references`: what a connection and a channel have in common: reference tables, jelly, calls in and out
- `calls`: deadlines of calls, and results that several callers wait for
- `connection`: a Protocol: what the parts of a connection may ask of it
- `inbound`: bytes to messages, within limits; calls over the limit wait
- `oversized`: messages that exceed a limit are passed over, and their calls answered
- `outbound`: writes leave in one piece, and what the peer has not read is counted
- `prelogin`: what an unauthenticated connection may do
- `peer`: a connection as sessions see it, ours or stock's
- `hello`: what pbkit peers tell each other
- `wellknown`: the object ids that have a name
- `keepalive`: one timer for all connections of a server: which are silent, slow or not logged in
- `totals`: what all connections of a user, and of a server, hold together
- `peerlog`: what one connection may write into the log
- `profile`: how strict a server is: all limits
- `compact`: what keeps an idle session small
- `codec`: Banana and jelly in one pass, without I/O
- `jelly`: objects to messages and back
"""
