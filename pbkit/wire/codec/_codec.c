/*
 * The codec, compiled: the same as pbkit/wire/codec/pure.py, which documents what each function promises.
 *
 * In a checkout, `python setup.py build_ext --inplace` builds it anew.
 *
 * The file is ordered as a message is read: where it ends (Framer), its items, what it says in Banana (decode), checks of
 * keys (crowded), what it says in plain values (decodePlain). Then comes writing, and last the module.
 *
 * These idioms are used throughout:
 *
 * - References. A function that returns a PyObject * returns a new reference, or NULL on failure. A function whose
 *   description says that it takes over an argument releases that reference, on failure too; it may be given NULL, and
 *   then fails. So `push(r, read_raw(r))` needs no check in between, and nothing is released twice.
 * - Failure. Functions return NULL, or -1 where they return an int. Readers and writers of plain values fail with or
 *   without an exception set: "left to stock's jelly". Whoever called them clears it and returns None (`or_none`). All
 *   other functions fail with an exception set.
 * - Stacks. A Reader collects values on a stack and builds a container when its last item has been read. So no function
 *   calls itself while it reads, nothing is allocated for what is only announced, and the garbage collector never sees a
 *   container with empty places. Whatever is left on the stack is released by `end_reader`.
 * - Containers of the caller's. A garbage collection can run any code, and any of these functions can start one. So an
 *   item that is taken out of a container is owned while it is used, and the container's size is checked again. Of a
 *   tuple neither is needed: it cannot change, and is owned itself.
 * - Limits. The codec in Python defines them; they are read into `State` when the module is imported. There are no
 *   variables outside of it, so each import and each interpreter has its own.
 * - Bounds. A peer's bytes are only read through a Framer or a Reader, before `used` or `end`.
 *
 * Only public functions of CPython 3.11 and later are used.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Banana's type bytes. */
enum { LIST = 0x80, INT, STRING, NEG, FLOAT, LONGINT, LONGNEG, VOCAB };

/* Sizes of tables. What does not fit into them fails at import, and then the codec in Python is used. */
enum { MOST_WORDS = 64, LONGEST_WORD = 15, MOST_OF_A_LENGTH = 7 };

/* Keys of dicts that are remembered, and the longest of them. */
enum { KEYS = 512, LONGEST_KEY = 32 };

/* More than any limit. Two of them, and the size of a message, can still be added. */
#define HUGE_NUMBER ((uint64_t)1 << 61)
#define LARGEST_LIMIT ((Py_ssize_t)1 << 60)

/* What a module has: all that is not constant. */
typedef struct {
    PyTypeObject *Framer;
    PyObject *TooLarge, *Malformed, *pure_encode, *message, *answer;
    /* As in pbkit/wire/codec/pure.py and hashflood.py. */
    Py_ssize_t max_depth, max_prefix, max_items;
    Py_ssize_t collisions, places, free_places, neighbours, neighbours_cost, smallest_dict;
    /* The words of the vocabulary by their numbers, as bytes. For each length, the numbers of the words that have it,
       ended by 0, and what these words begin with. */
    PyObject *words[MOST_WORDS];
    uint8_t numbers[LONGEST_WORD + 1][MOST_OF_A_LENGTH + 1];
    char initials[LONGEST_WORD + 1][MOST_OF_A_LENGTH + 1];
    /* The numbers of the words that plain values need. */
    uint8_t none, list, tuple, dictionary, reference, dereference, call, cache_call, reply;
    /* A peer cannot guess it, so it cannot choose hashes or addresses that meet in a table. */
    uint64_t secret;
    /* The last short key of each hash: found here, a key need not be made and hashed again. */
    PyObject *keys[KEYS];
    /* What a Framer has read last: a message, and what decodePlain returns for it; or NULL. */
    PyObject *ready, *ready_plain;
} State;

/*
 * Put the arguments of a call, given by position or by name, into `out`; those left out are NULL. Return 0, or -1 with a
 * TypeError.
 */
static int
arguments(const char *function, const char *const *names, Py_ssize_t required, Py_ssize_t most, PyObject *const *args,
          Py_ssize_t nargs, PyObject *kwnames, PyObject **out)
{
    if (nargs > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments, got %zd", function, most, nargs);
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
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected or repeated argument %R", function, name);
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

/* What was made, or None if that was left to stock's jelly. Takes over `found`. */
static PyObject *
or_none(PyObject *found)
{
    if (found != NULL)
        return found;
    PyErr_Clear();
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------------------------------------- where a message ends */

enum { L_MESSAGE, L_ITEMS, L_DEPTH, L_STRING, L_PREFIX, N_LIMITS };

typedef struct {
    PyObject_HEAD
    /* What is held: a chunk as it was fed, or else bytes of our own, `own`, of which `used` are filled. The message
       begins at `start`. */
    PyObject *chunk;
    uint8_t *own;
    Py_ssize_t room, used, start;
    /* Where the next item begins, maybe beyond what is held; how many items are still to come; how many were announced,
       0 before a message has begun. */
    int64_t pos, pending, total;
    /* For each list that is open: how many items will be pending when it has ended. */
    int64_t *ends;
    Py_ssize_t depth, ends_room;
    Py_ssize_t limits[N_LIMITS], next_limits[N_LIMITS];
    /* The error that ended it, and its arguments; or NULL. */
    PyObject *error, *error_args;
    /* After an error: what was held, until it is taken. */
    PyObject *refused;
    /* For tests: how many items were looked at, and how many bytes were moved. */
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
    /* Keep room for a few lists: nearly every message has some. */
    if (self->ends_room > 16) {
        PyMem_Free(self->ends);
        self->ends = NULL;
        self->ends_room = 0;
    }
}

static int
framer_set_limits(Framer *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"message", "items", "depth", "string", "prefix", NULL};
    Py_ssize_t new[N_LIMITS] = {0, 0, 0, 0, 64};
    if (!PyArg_ParseTupleAndKeywords(args, kw, "nnnn|n", names, &new[0], &new[1], &new[2], &new[3], &new[4]))
        return -1;
    for (int i = 0; i < N_LIMITS; i++) {
        if (new[i] < 1) {
            PyErr_Format(PyExc_ValueError, "invalid limit %zd: expected 1 or more", new[i]);
            return -1;
        }
    }
    for (int i = 0; i < N_LIMITS; i++)
        self->next_limits[i] = Py_MIN(new[i], LARGEST_LIMIT);
    return 0;
}

static int
framer_init(Framer *self, PyObject *args, PyObject *kw)
{
    if (framer_set_limits(self, args, kw) < 0)
        return -1;
    memcpy(self->limits, self->next_limits, sizeof(self->limits));
    framer_drop(self);
    self->pending = self->total = 0;
    Py_CLEAR(self->error);
    Py_CLEAR(self->error_args);
    Py_CLEAR(self->refused);
    return 0;
}

static void
framer_dealloc(Framer *self)
{
    PyTypeObject *type = Py_TYPE(self);
    framer_drop(self);
    PyMem_Free(self->ends);
    Py_XDECREF(self->error);
    Py_XDECREF(self->error_args);
    Py_XDECREF(self->refused);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *
framer_limit(Framer *self, PyObject *args, PyObject *kw)
{
    if (framer_set_limits(self, args, kw) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static const uint8_t *
framer_data(const Framer *self)
{
    return self->chunk != NULL ? (const uint8_t *)PyBytes_AS_STRING(self->chunk) : self->own;
}

/* Forget what was returned, so that what is held begins at 0. */
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
            /* Half of the room or more was returned since this was last done. */
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
    if (self->error == NULL && view.len > 0) {
        if (self->used == self->start && PyBytes_CheckExact(chunk)) {
            /* The usual case. The next message is then cut out of the chunk itself. */
            framer_drop(self);
            self->chunk = Py_NewRef(chunk);
            self->used = view.len;
        } else
            failed = framer_append(self, view.buf, view.len);
    }
    PyBuffer_Release(&view);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* Set the error that ends it. Takes over `args`. Always returns -1. */
static int
framer_fail(Framer *self, PyObject *error, PyObject *args)
{
    if (args != NULL) {
        self->error = Py_NewRef(error);
        self->error_args = args;
    }
    return -1;
}

static int
framer_too_large(Framer *self, const char *which, Py_ssize_t limit)
{
    const State *state = PyType_GetModuleState(Py_TYPE(self));
    return framer_fail(self, state->TooLarge, Py_BuildValue("(sn)", which, limit));
}

static int
framer_bad_type(Framer *self, int kind)
{
    const State *state = PyType_GetModuleState(Py_TYPE(self));
    PyObject *text = PyUnicode_FromFormat("invalid Banana type byte 0x%02x", kind);
    return framer_fail(self, state->Malformed, text == NULL ? NULL : Py_BuildValue("(N)", text));
}

/* Open a list. */
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

/* The most that is held when a message is read in advance. What is longer mostly arrives in several pieces. */
enum { MOST_IN_ADVANCE = 65535 };

static PyObject *read_plain(State *state, const uint8_t *data, Py_ssize_t size, Py_ssize_t depth, int64_t items,
                            Py_ssize_t *end);

/*
 * Find the end of a message and its values in one pass, and keep the values for decodePlain. Most messages are plain, and
 * complete when they are first looked at. Return the message; or NULL without an exception, if it is not like that.
 */
static PyObject *
framer_read(Framer *self)
{
    const Py_ssize_t *limits = self->next_limits;
    const Py_ssize_t start = self->start, held = self->used - start;
    State *state = PyType_GetModuleState(Py_TYPE(self));
    /* What is so short is within the limits on sizes, because each item takes a byte at least. */
    if (self->chunk == NULL || held > MOST_IN_ADVANCE || held > limits[L_MESSAGE] || held > limits[L_ITEMS]
        || held > limits[L_STRING] || limits[L_DEPTH] < 2 || limits[L_PREFIX] < state->max_prefix)
        return NULL;
    /* The message itself is one list, and so is a text. A dict has two lists for each level. */
    const Py_ssize_t depth = limits[L_DEPTH] / 2 - 1;
    PyObject *chunk = Py_NewRef(self->chunk), *message = NULL;
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(chunk) + start;
    Py_ssize_t end = 0;
    PyObject *plain = read_plain(state, data, held, depth, limits[L_ITEMS], &end);
    /* Other code may have run meanwhile, and fed or asked this very Framer. */
    if (plain != NULL && self->chunk == chunk && self->start == start && self->total == 0) {
        message = start == 0 && end == self->used ? Py_NewRef(chunk)
                                                  : PyBytes_FromStringAndSize((const char *)data, end);
    }
    Py_DECREF(chunk);
    if (message == NULL) {
        PyErr_Clear();
        Py_XDECREF(plain);
        return NULL;
    }
    self->pos = start + end;
    Py_XSETREF(state->ready, Py_NewRef(message));
    Py_XSETREF(state->ready_plain, plain);
    return message;
}

/* Go on to the end of the message, or to where bytes are missing. Return 0, or -1 with `error` or an exception set. */
static int
framer_scan(Framer *self)
{
    const uint8_t *data = framer_data(self);
    const Py_ssize_t *limits = self->limits;
    const int64_t used = self->used, start = self->start;
    while (self->pending > 0 && self->pos < used) {
        int64_t pos = self->pos;
        const int64_t last = pos + limits[L_PREFIX];
        uint64_t n = 0;
        int shift = 0;
        self->looked++;
        while (pos < used && data[pos] < 0x80) {
            if (pos == last)
                return framer_too_large(self, "prefix", limits[L_PREFIX]);
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
            if (n > (uint64_t)limits[L_STRING])
                return framer_too_large(self, "string", limits[L_STRING]);
            pos += (int64_t)n;
            self->pending--;
            if (pos - start + self->pending > limits[L_MESSAGE])
                return framer_too_large(self, "message", limits[L_MESSAGE]);
        } else if (kind == LIST) {
            if (n > (uint64_t)limits[L_ITEMS])
                return framer_too_large(self, "list", limits[L_ITEMS]);
            self->total += (int64_t)n;
            if (self->total > limits[L_ITEMS])
                return framer_too_large(self, "items", limits[L_ITEMS]);
            while (self->depth > 0 && self->ends[self->depth - 1] >= self->pending)
                self->depth--;
            self->pending--;
            if (framer_enter(self) < 0)
                return -1;
            if (self->depth > limits[L_DEPTH])
                return framer_too_large(self, "depth", limits[L_DEPTH]);
            self->pending += (int64_t)n;
            if (pos - start + self->pending > limits[L_MESSAGE])
                return framer_too_large(self, "message", limits[L_MESSAGE]);
        } else if (kind <= VOCAB) {
            if (kind == FLOAT)
                pos += 8;
            self->pending--;
        } else
            return framer_bad_type(self, kind);
        self->pos = pos;
    }
    return 0;
}

/* Go on behind a message that ends at `pos`, and return it. */
static PyObject *
framer_advance(Framer *self, PyObject *message)
{
    self->total = 0;
    self->start = self->pos;
    if (self->start == self->used)
        framer_drop(self);
    return message;
}

static PyObject *
framer_next(Framer *self, PyObject *Py_UNUSED(ignored))
{
    if (self->error == NULL) {
        if (self->used == self->start)
            Py_RETURN_NONE;
        if (self->total == 0) {
            PyObject *message = framer_read(self);
            if (message != NULL)
                return framer_advance(self, message);
            memcpy(self->limits, self->next_limits, sizeof(self->limits));
            self->pending = self->total = 1;
            self->depth = 0;
        }
        int failed = framer_scan(self);
        if (!failed && self->pos - self->start > self->limits[L_MESSAGE])
            failed = framer_too_large(self, "message", self->limits[L_MESSAGE]);
        if (failed && self->error == NULL)
            return NULL;
        if (failed) {
            self->refused = PyBytes_FromStringAndSize((const char *)framer_data(self) + self->start,
                                                      self->used - self->start);
            if (self->refused == NULL)
                return NULL;
        }
    }
    if (self->error != NULL) {
        framer_drop(self);
        PyErr_SetObject(self->error, self->error_args);
        return NULL;
    }
    if (self->pending > 0 || self->pos > self->used)
        Py_RETURN_NONE;
    PyObject *message;
    if (self->chunk != NULL && self->start == 0 && self->pos == self->used)
        message = Py_NewRef(self->chunk);
    else
        message = PyBytes_FromStringAndSize((const char *)framer_data(self) + self->start, self->pos - self->start);
    return message == NULL ? NULL : framer_advance(self, message);
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

static PyObject *
framer_take_refused(Framer *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *refused = self->refused;
    self->refused = NULL;
    return refused != NULL ? refused : PyBytes_FromStringAndSize(NULL, 0);
}

static PyMethodDef framer_methods[] = {
    {"limit", (PyCFunction)(void (*)(void))framer_limit, METH_VARARGS | METH_KEYWORDS,
     "Set other limits, from the next message on."},
    {"feed", (PyCFunction)framer_feed, METH_O, "Receive bytes. `next` then looks at them."},
    {"next", (PyCFunction)framer_next, METH_NOARGS, "Return the next message, or None if it is not complete."},
    {"refused", (PyCFunction)framer_take_refused, METH_NOARGS,
     "After an error: return what was held, from the beginning of the message that exceeds a limit, and drop it."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef framer_getset[] = {
    {"held", (getter)framer_held, NULL, "How many bytes are held.", NULL},
    {"_work", (getter)framer_work, NULL, "For tests: how many items were looked at, how many bytes moved.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot framer_slots[] = {
    {Py_tp_doc, "Finds where messages end, and holds the bytes received until then."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, framer_init},
    {Py_tp_dealloc, framer_dealloc},
    {Py_tp_methods, framer_methods},
    {Py_tp_getset, framer_getset},
    {0, NULL},
};

/* It cannot be subclassed, so the type of each instance is the one that has the module's state. */
static PyType_Spec framer_spec = {
    .name = "pbkit.wire.codec._codec.Framer",
    .basicsize = sizeof(Framer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = framer_slots,
};

/* ---------------------------------------------------------------------------------------------- the items of a message */

/* What a list of jelly stands for. Up to FROZENSET these are containers; VALUES is for the outermost level. */
enum { VALUES = -1, A_LIST, TUPLE, DICT, SET, FROZENSET, NONE, UNICODE, BOOLEAN, REFERENCE, DEREFERENCE };

/* A container that is open: its form, how many items are still to come, and where its items begin on the stack. Of a
   reference also its number, and `walked` when it began. */
typedef struct {
    int form;
    uint64_t left;
    Py_ssize_t first, number;
    int64_t walked;
} Level;

/* A value that has a number, and how many values a walk through it meets. */
typedef struct {
    PyObject *value;
    int64_t size;
} Known;

typedef struct {
    State *state;
    const uint8_t *at, *end;
    int vocabulary;
    /* The most digits of a number, and the most levels of plain values. */
    Py_ssize_t prefix, depth;
    /* Of the item whose beginning was read last: whether its number has more than 56 bits, and then its digits. */
    int large;
    const uint8_t *digits;
    Py_ssize_t n_digits;
    /* The stack of values that were read and are in no container yet. */
    PyObject **values;
    Py_ssize_t n_values, values_room;
    /* The stack of the containers around the one that is being read. */
    Level *levels;
    Py_ssize_t n_levels, levels_room;
    /* What came with a number in this jelly, by the number. */
    Known *known;
    Py_ssize_t n_known, most_known;
    /* How many values a walk through this jelly meets, as far as it was read, and the limit on that. A container that is
       opened counts its items, and long strings count as several. What the strings count where they were read is in
       `own`, and does not count against the limit. */
    int64_t walked, own, items;
    /* Enough for most messages. */
    PyObject *some_values[64];
    Level some_levels[12];
} Reader;

/* Have another place on a stack, which is in the Reader itself at first. */
static void *
grow_stack(void *stack, void *first, Py_ssize_t *room, size_t each)
{
    void *more = PyMem_Realloc(stack == first ? NULL : stack, (size_t)*room * 2 * each);
    if (more == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (stack == first)
        memcpy(more, first, (size_t)*room * each);
    *room *= 2;
    return more;
}

/* Put a value on the stack. Takes it over. */
static inline int
push(Reader *r, PyObject *value)
{
    if (value == NULL)
        return -1;
    if (r->n_values == r->values_room) {
        void *more = grow_stack(r->values, r->some_values, &r->values_room, sizeof(PyObject *));
        if (more == NULL) {
            Py_DECREF(value);
            return -1;
        }
        r->values = more;
    }
    r->values[r->n_values++] = value;
    return 0;
}

/* Keep the level around the one that begins. */
static inline int
enter(Reader *r, const Level *level)
{
    if (r->n_levels == r->levels_room) {
        void *more = grow_stack(r->levels, r->some_levels, &r->levels_room, sizeof(Level));
        if (more == NULL)
            return -1;
        r->levels = more;
    }
    r->levels[r->n_levels++] = *level;
    return 0;
}

/* Forget what has a number: numbers are given within one jelly, which is the arguments, the keywords, or an answer. */
static void
forget_known(Reader *r)
{
    for (Py_ssize_t i = 0; i < r->n_known; i++)
        Py_XDECREF(r->known[i].value);
    PyMem_Free(r->known);
    r->known = NULL;
    r->n_known = 0;
}

static void
end_reader(Reader *r)
{
    while (r->n_values > 0)
        Py_DECREF(r->values[--r->n_values]);
    if (r->values != r->some_values)
        PyMem_Free(r->values);
    if (r->levels != r->some_levels)
        PyMem_Free(r->levels);
    forget_known(r);
}

/* Begin to read bytes, as Banana has them. */
static void
begin_reader(Reader *r, State *state, const uint8_t *data, Py_ssize_t size, int vocabulary)
{
    r->state = state;
    r->at = data;
    r->end = data + size;
    r->vocabulary = vocabulary;
    r->prefix = size;
    r->depth = 0;
    r->values = r->some_values;
    r->n_values = 0;
    r->values_room = Py_ARRAY_LENGTH(r->some_values);
    r->levels = r->some_levels;
    r->n_levels = 0;
    r->levels_room = Py_ARRAY_LENGTH(r->some_levels);
    r->known = NULL;
    r->n_known = 0;
    /* Each number takes four bytes of the message, so no higher ones are needed. */
    r->most_known = size / 4;
    r->walked = 1;
    r->own = 0;
    r->items = 0;
}

/* Look at the arguments `message` and `vocabulary`, of which the latter may be NULL for True. Return it, or -1. */
static int
message_arguments(PyObject *const *given)
{
    if (PyBytes_Check(given[0]))
        return given[1] == NULL ? 1 : PyObject_IsTrue(given[1]);
    PyErr_Format(PyExc_TypeError, "a message is bytes, not %s", Py_TYPE(given[0])->tp_name);
    return -1;
}

/* The rest of `begin`, for numbers of more than eight digits. */
static int
begin_long(Reader *r, uint64_t *n, uint64_t found)
{
    const uint8_t *at = r->at + 8;
    r->digits = r->at;
    r->large = 0;
    while (at < r->end && *at < 0x80)
        r->large |= *at++;
    r->n_digits = at - r->digits;
    if (at >= r->end || r->n_digits > r->prefix)
        return -1;
    r->at = at + 1;
    *n = r->large ? HUGE_NUMBER : found;
    return *at;
}

/* Read the beginning of an item: its number. Return its type byte, or -1 if there is none. */
static inline int
begin(Reader *r, uint64_t *n)
{
    const uint8_t *at = r->at, *const end = r->end;
    uint64_t found = 0;
    for (int shift = 0; at < end && shift < 56; shift += 7) {
        const uint8_t byte = *at++;
        if (byte >= 0x80) {
            r->at = at;
            r->large = 0;
            *n = found;
            return byte;
        }
        found |= (uint64_t)byte << shift;
    }
    return at < end ? begin_long(r, n, found) : -1;
}

/* Make an int of its digits, base 128, the least first. */
static PyObject *
large_int(const uint8_t *digits, Py_ssize_t count, int negative)
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

/* Read the rest of an item that is no list. Fails with an exception or without. */
static PyObject *
scalar(Reader *r, int kind, uint64_t n)
{
    switch (kind) {
    case INT:
    case LONGINT:
        return r->large ? large_int(r->digits, r->n_digits, 0) : PyLong_FromLongLong((long long)n);
    case NEG:
    case LONGNEG:
        return r->large ? large_int(r->digits, r->n_digits, 1) : PyLong_FromLongLong(-(long long)n);
    case STRING:
        if (n > (uint64_t)(r->end - r->at))
            return NULL;
        r->at += n;
        return PyBytes_FromStringAndSize((const char *)r->at - n, (Py_ssize_t)n);
    case VOCAB:
        return r->vocabulary && n < MOST_WORDS ? Py_XNewRef(r->state->words[n]) : NULL;
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

/* Make a list of the values on the stack from `first` on. They are then its own. */
static PyObject *
list_of_values(Reader *r, Py_ssize_t first)
{
    PyObject *found = PyList_New(r->n_values - first);
    if (found == NULL)
        return NULL;
    for (Py_ssize_t i = first; i < r->n_values; i++)
        PyList_SET_ITEM(found, i - first, r->values[i]);
    r->n_values = first;
    return found;
}

static PyObject *
tuple_of_values(Reader *r, Py_ssize_t first)
{
    PyObject *found = PyTuple_New(r->n_values - first);
    if (found == NULL)
        return NULL;
    for (Py_ssize_t i = first; i < r->n_values; i++)
        PyTuple_SET_ITEM(found, i - first, r->values[i]);
    r->n_values = first;
    return found;
}

/* ---------------------------------------------------------------------------------------------- decode */

/* Set Malformed for an item that could not be read. Always returns NULL. */
static PyObject *
malformed(Reader *r, int kind, uint64_t n)
{
    PyObject *Malformed = r->state->Malformed;
    if (PyErr_Occurred())
        return NULL;
    if (kind > VOCAB)
        PyErr_Format(Malformed, "invalid Banana type byte 0x%02x", kind);
    else if (kind == VOCAB && r->vocabulary)
        PyErr_Format(Malformed, "unknown word number %llu", (unsigned long long)n);
    else if (kind == VOCAB)
        PyErr_Format(Malformed, "word number %llu without an agreed vocabulary", (unsigned long long)n);
    else
        PyErr_SetString(Malformed, "not one whole message");
    return NULL;
}

/* Read one whole message. Fails with an exception set. */
static PyObject *
read_expression(Reader *r)
{
    Level level = {.form = VALUES, .left = 1};
    for (;;) {
        uint64_t n = 0;
        int kind = begin(r, &n);
        if (kind == LIST) {
            if (enter(r, &level) < 0)
                return NULL;
            level = (Level){.form = A_LIST, .left = n, .first = r->n_values};
        } else {
            if (push(r, scalar(r, kind, n)) < 0)
                return malformed(r, kind, n);
            level.left--;
        }
        while (level.left == 0) {
            if (r->n_levels == 0)
                return r->at == r->end ? Py_NewRef(r->values[0]) : malformed(r, -1, 0);
            if (push(r, list_of_values(r, level.first)) < 0)
                return NULL;
            level = r->levels[--r->n_levels];
            level.left--;
        }
    }
}

#define SIGNATURE PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames

static PyObject *
codec_decode(SIGNATURE)
{
    static const char *const names[] = {"message", "vocabulary"};
    PyObject *given[2];
    Reader r;
    int vocabulary;
    if (arguments("decode", names, 1, 2, args, nargs, kwnames, given) < 0 || (vocabulary = message_arguments(given)) < 0)
        return NULL;
    begin_reader(&r, PyModule_GetState(module), (const uint8_t *)PyBytes_AS_STRING(given[0]),
                 PyBytes_GET_SIZE(given[0]), vocabulary);
    PyObject *found = read_expression(&r);
    end_reader(&r);
    return found;
}

/* ---------------------------------------------------------------------------------------------- crowded */

/* The algorithms are explained in pbkit/wire/codec/hashflood.py. */

/*
 * Write the hashes of the keys that differ, in their order. Return how many; or -1, if too many have the same hash, or
 * with an exception. A key is `step` places after the one before.
 */
static Py_ssize_t
distinct(const State *state, PyObject *const *keys, Py_ssize_t count, Py_ssize_t step, Py_hash_t *hashes)
{
    int bits = 1;
    while (((Py_ssize_t)1 << bits) < 2 * count)
        bits++;
    const size_t mask = ((size_t)1 << bits) - 1;
    Py_ssize_t found = 0, again = 0;
    /* For each place the hash that is there, counted from 1; 0 for none. */
    uint32_t *table = PyMem_Calloc(mask + 1, sizeof(uint32_t));
    /* For each hash the key that has it. */
    uint32_t *whose = PyMem_Malloc((size_t)count * sizeof(uint32_t));
    if (table == NULL || whose == NULL) {
        PyErr_NoMemory();
        found = -1;
    }
    for (Py_ssize_t k = 0; found >= 0 && k < count; k++) {
        PyObject *key = keys[k * step];
        Py_hash_t hash = PyObject_Hash(key);
        int same = hash == -1 ? -1 : 0, met = 0;
        size_t place = (size_t)((((uint64_t)hash ^ state->secret) * (state->secret | 1)) >> (64 - bits));
        for (; same == 0 && table[place] != 0; place = (place + 1) & mask) {
            if (hashes[table[place] - 1] != hash)
                continue;
            again += !met;
            met = 1;
            same = again > state->collisions
                       ? -1
                       : PyObject_RichCompareBool(keys[whose[table[place] - 1] * step], key, Py_EQ);
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

/* Add keys to a dict of each size that it may have while it grows. Return 1 if it takes too long; -1 on failure. */
static int
crowd_dicts(const State *state, const Py_hash_t *hashes, Py_ssize_t count, Py_ssize_t keys)
{
    const size_t smallest = (size_t)state->smallest_dict;
    size_t size = smallest;
    while (size < 3 * (size_t)keys)
        size *= 2;
    uint8_t *taken = PyMem_Malloc(size);
    if (taken == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int64_t left = 0;
    for (; left >= 0 && size >= smallest; size /= 2) {
        const size_t mask = size - 1;
        const Py_ssize_t most = Py_MIN(count, (Py_ssize_t)(size * 2 / 3));
        memset(taken, 0, size);
        left = state->free_places;
        for (Py_ssize_t k = 0; left >= 0 && k < most; k++) {
            size_t perturb = (size_t)hashes[k], at = perturb & mask;
            left += state->places;
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

/* Add a hash to the table of a set; -1 marks a free place, as no hash is -1. Return what is left, below 0 for none. */
static inline int64_t
set_place(const State *state, Py_hash_t *table, size_t mask, Py_hash_t hash, int64_t left)
{
    const size_t neighbours = (size_t)state->neighbours;
    size_t perturb = (size_t)hash, place = perturb & mask;
    for (;;) {
        /* The last places of the table have no neighbours. */
        const size_t last = place + (place + neighbours <= mask ? neighbours : 0);
        for (size_t at = place; at <= last; at++) {
            if (table[at] == -1) {
                table[at] = hash;
                return left;
            }
        }
        left -= state->neighbours_cost;
        if (left < 0)
            return left;
        perturb >>= 5;
        place = (place * 5 + 1 + perturb) & mask;
    }
}

/* Add keys to a set while it grows. Return 1 if it takes too long; -1 on failure. */
static int
crowd_set(const State *state, const Py_hash_t *hashes, Py_ssize_t count)
{
    Py_hash_t *table = NULL;
    Py_ssize_t done = 0, most = 0;
    size_t size = 8, room = 0;
    int64_t left = 0;
    while (left >= 0 && count >= most) {
        /* So many fit; the last of them makes it grow. */
        most = (Py_ssize_t)((3 * (size - 1) + 4) / 5);
        Py_hash_t *next = PyMem_Malloc(size * sizeof(Py_hash_t));
        if (next == NULL) {
            PyMem_Free(table);
            PyErr_NoMemory();
            return -1;
        }
        memset(next, 0xFF, size * sizeof(Py_hash_t));
        left = state->free_places;
        for (size_t at = 0; left >= 0 && at < room; at++)
            if (table[at] != -1)
                left = set_place(state, next, size - 1, table[at], left + state->places);
        for (; left >= 0 && done < Py_MIN(most, count); done++)
            left = set_place(state, next, size - 1, hashes[done], left + state->places);
        PyMem_Free(table);
        table = next;
        room = size;
        for (size = 8; size <= (size_t)most * (most > 50000 ? 2 : 4);)
            size *= 2;
    }
    PyMem_Free(table);
    return left < 0;
}

/* Return whether a container of these keys should not be built; -1 on failure, or if a key is not hashable. */
static int
crowded(const State *state, PyObject *const *keys, Py_ssize_t count, Py_ssize_t step, int members)
{
    Py_ssize_t texts = 0;
    if (count <= state->collisions)
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
    Py_ssize_t different = distinct(state, keys, count, step, hashes);
    if (different < 0)
        result = PyErr_Occurred() ? -1 : 1;
    else
        result = members ? crowd_set(state, hashes, different) : crowd_dicts(state, hashes, different, count);
    PyMem_Free(hashes);
    return result;
}

static PyObject *
codec_crowded(SIGNATURE)
{
    static const char *const names[] = {"keys", "members"};
    PyObject *given[2];
    if (arguments("crowded", names, 2, 2, args, nargs, kwnames, given) < 0)
        return NULL;
    int members = PyObject_IsTrue(given[1]);
    /* A copy, because a method of a key may change what was given. */
    PyObject *keys = members < 0 ? NULL : PySequence_Tuple(given[0]);
    if (keys == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(keys);
    int result = count == 0 ? 0 : crowded(PyModule_GetState(module), &PyTuple_GET_ITEM(keys, 0), count, 1, members);
    Py_DECREF(keys);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* ---------------------------------------------------------------------------------------------- decodePlain */

/* Read a string or a word: return where its bytes are, or NULL. */
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
    if (kind == VOCAB && r->vocabulary && n < MOST_WORDS && r->state->words[n] != NULL) {
        *length = PyBytes_GET_SIZE(r->state->words[n]);
        return PyBytes_AS_STRING(r->state->words[n]);
    }
    return NULL;
}

/* Return whether a text is this word. */
static inline int
is(const char *text, Py_ssize_t length, const char *word)
{
    return (size_t)length == strlen(word) && memcmp(text, word, (size_t)length) == 0;
}

/* Read over these bytes, if they come next. */
static inline int
skip(Reader *r, const char *bytes, Py_ssize_t length)
{
    if (r->end - r->at < length || memcmp(r->at, bytes, (size_t)length) != 0)
        return 0;
    r->at += length;
    return 1;
}
#define SKIP(r, bytes) skip(r, bytes, sizeof(bytes) - 1)

/* Read the word that a list of jelly begins with. Return its form, or -1 if it is not plain. */
static int
read_form(Reader *r)
{
    if (SKIP(r, "\x07\x82unicode"))
        return UNICODE;
    Py_ssize_t length;
    const char *text = text_of(r, &length);
    if (text == NULL)
        return -1;
    switch (length) {
    case 3:
        return is(text, length, "set") ? SET : -1;
    case 4:
        return is(text, length, "list") ? A_LIST : is(text, length, "None") ? NONE : -1;
    case 5:
        return is(text, length, "tuple") ? TUPLE : -1;
    case 7:
        return is(text, length, "unicode") ? UNICODE : is(text, length, "boolean") ? BOOLEAN : -1;
    case 9:
        return is(text, length, "frozenset") ? FROZENSET : is(text, length, "reference") ? REFERENCE : -1;
    case 10:
        return is(text, length, "dictionary") ? DICT : -1;
    case 11:
        return is(text, length, "dereference") ? DEREFERENCE : -1;
    default:
        return -1;
    }
}

/* Make the text of a key, or find it among the remembered ones. */
static PyObject *
key_of(State *state, const char *text, Py_ssize_t length)
{
    uint64_t head = 0, tail = 0;
    if (length == 0 || length > LONGEST_KEY)
        return PyUnicode_DecodeUTF8(text, length, NULL);
    Py_ssize_t some = Py_MIN(length, 8);
    memcpy(&head, text, (size_t)some);
    memcpy(&tail, text + length - some, (size_t)some);
    uint64_t mixed = (head ^ (tail * 0x9E3779B97F4A7C15u) ^ (uint64_t)length) * 0xD6E8FEB86659FD93u;
    PyObject **place = &state->keys[mixed >> 55], *found = *place;
    if (found != NULL && PyUnicode_GET_LENGTH(found) == length
        && memcmp(PyUnicode_1BYTE_DATA(found), text, (size_t)length) == 0)
        return Py_NewRef(found);
    found = PyUnicode_DecodeUTF8(text, length, NULL);
    if (found != NULL && PyUnicode_IS_COMPACT_ASCII(found))
        Py_XSETREF(*place, Py_NewRef(found));
    return found;
}

/* Make a container without items, or None. */
static PyObject *
empty(int form)
{
    switch (form) {
    case A_LIST:
        return PyList_New(0);
    case TUPLE:
        return PyTuple_New(0);
    case DICT:
        return PyDict_New();
    case SET:
        return PySet_New(NULL);
    case FROZENSET:
        return PyFrozenSet_New(NULL);
    case NONE:
        return Py_NewRef(Py_None);
    default:
        return NULL;
    }
}

/* Make a dict of the keys and values on the stack, which come by turns. */
static PyObject *
dict_of_values(Reader *r, Py_ssize_t first)
{
    Py_ssize_t count = r->n_values - first;
    if (crowded(r->state, r->values + first, count / 2, 2, 0) != 0)
        return NULL;
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = first; found != NULL && i < r->n_values; i += 2)
        if (PyDict_SetItem(found, r->values[i], r->values[i + 1]) < 0)
            Py_CLEAR(found);
    if (found != NULL)
        while (r->n_values > first)
            Py_DECREF(r->values[--r->n_values]);
    return found;
}

static PyObject *
set_of_values(Reader *r, Py_ssize_t first, int frozen)
{
    if (crowded(r->state, r->values + first, r->n_values - first, 1, 1) != 0)
        return NULL;
    PyObject *found = frozen ? PyFrozenSet_New(NULL) : PySet_New(NULL);
    for (Py_ssize_t i = first; found != NULL && i < r->n_values; i++)
        if (PySet_Add(found, r->values[i]) < 0)
            Py_CLEAR(found);
    if (found != NULL)
        while (r->n_values > first)
            Py_DECREF(r->values[--r->n_values]);
    return found;
}

/* Read the number by which something can come again; -1 if it is not usable. */
static Py_ssize_t
read_number(Reader *r)
{
    uint64_t n;
    return begin(r, &n) == INT && n < (uint64_t)r->most_known ? (Py_ssize_t)n : -1;
}

/* Remember the container on top of the stack by its number, and return it, off the stack. */
static PyObject *
remember(Reader *r, const Level *level)
{
    PyObject *value = r->values[r->n_values - 1];
    if (level->number >= r->n_known) {
        Py_ssize_t more = Py_MIN(2 * level->number + 8, r->most_known);
        Known *known = PyMem_Realloc(r->known, (size_t)more * sizeof(Known));
        if (known == NULL)
            return PyErr_NoMemory();
        memset(known + r->n_known, 0, (size_t)(more - r->n_known) * sizeof(Known));
        r->known = known;
        r->n_known = more;
    }
    if (r->known[level->number].value != NULL)
        return NULL;
    r->known[level->number] = (Known){Py_NewRef(value), 1 + r->walked - level->walked};
    r->n_values--;
    return value;
}

/* Return whether the next value of a level is a key of a dict or a member of a set. */
static inline int
is_key(const Level *level)
{
    return level->form == SET || level->form == FROZENSET || (level->form == DICT && level->left % 2 == 0);
}

/* Return what has a number, if it may come again here and not too much is walked then. */
static PyObject *
recall(Reader *r, const Level *level)
{
    Py_ssize_t number = read_number(r);
    if (number < 0 || number >= r->n_known || r->known[number].value == NULL)
        return NULL;
    /* Not within a key: the hash of a tuple is computed anew each time, from all that is in it. */
    int within = is_key(level);
    for (Py_ssize_t i = 0; i < r->n_levels; i++)
        within |= is_key(&r->levels[i]);
    /* One was counted when the container around it was opened. */
    const int64_t more = r->known[number].size - 1;
    if (within || more > r->items + r->own - r->walked)
        return NULL;
    r->walked += more;
    return Py_NewRef(r->known[number].value);
}

/* Make what is complete: the values on the stack that belong to a level. */
static PyObject *
made(Reader *r, const Level *level)
{
    switch (level->form) {
    case A_LIST:
        return list_of_values(r, level->first);
    case TUPLE:
        return tuple_of_values(r, level->first);
    case DICT:
        return dict_of_values(r, level->first);
    case REFERENCE:
        return remember(r, level);
    default:
        return set_of_values(r, level->first, level->form == FROZENSET);
    }
}

/* Count a string. As in pure.py, each 64 bytes are one value more wherever it comes again. */
static inline void
count_string(Reader *r, uint64_t length)
{
    r->walked += (int64_t)(length >> 6);
    r->own += (int64_t)(length >> 6);
}

/*
 * Read the beginning of a list of jelly that has `n` items. Return a value that is complete; or NULL and `opened`, if a
 * container was opened, which is then in `level`; or NULL.
 */
static PyObject *
read_list(Reader *r, uint64_t n, Level *level, int *opened)
{
    const char *text;
    Py_ssize_t length;
    int form = n == 0 ? -1 : read_form(r);
    /* Only a container has a number. */
    if (form < 0 || (level->form == REFERENCE && form > FROZENSET))
        return NULL;
    if (form == UNICODE) {
        if (n != 2 || (text = text_of(r, &length)) == NULL)
            return NULL;
        count_string(r, (uint64_t)length);
        return PyUnicode_DecodeUTF8(text, length, NULL);
    }
    if (form == BOOLEAN) {
        if (n != 2 || (text = text_of(r, &length)) == NULL)
            return NULL;
        return is(text, length, "true") ? Py_NewRef(Py_True) : is(text, length, "false") ? Py_NewRef(Py_False) : NULL;
    }
    if (n == 1)
        return empty(form);
    if (form == DEREFERENCE)
        return n == 2 ? recall(r, level) : NULL;
    Level inner = {.form = form, .left = n - 1, .first = r->n_values, .walked = r->walked};
    if (form == DICT)
        inner.left *= 2;
    if (form == REFERENCE) {
        inner.left = 1;
        if (n != 3 || (inner.number = read_number(r)) < 0)
            return NULL;
    }
    /* Each item takes a byte at least. */
    if (form == NONE || inner.left > (uint64_t)(r->end - r->at) || r->n_levels >= r->depth
        || enter(r, level) < 0)
        return NULL;
    if (form != REFERENCE)
        r->walked += (int64_t)inner.left;
    *level = inner;
    *opened = 1;
    return NULL;
}

/* Read the beginning of a pair, and its key if that is text, as keys mostly are. Return 1 if it was; -1 on failure. */
static int
read_pair(Reader *r)
{
    Py_ssize_t length;
    if (!SKIP(r, "\x02\x80"))
        return -1;
    if (!SKIP(r, "\x02\x80\x07\x82unicode"))
        return 0;
    const char *text = text_of(r, &length);
    if (text == NULL || push(r, key_of(r->state, text, length)) < 0)
        return -1;
    count_string(r, (uint64_t)length);
    return 1;
}

/* Read one plain value, a jelly of its own, and put it on the stack. */
static int
read_jelly(Reader *r)
{
    Level level = {.form = VALUES, .left = 1, .first = r->n_values};
    forget_known(r);
    r->walked = 1;
    r->own = 0;
    for (;;) {
        if (level.form == DICT && is_key(&level)) {
            int read = read_pair(r);
            if (read < 0)
                return -1;
            level.left -= (uint64_t)read;
        }
        uint64_t n = 0, left = level.left;
        int kind = begin(r, &n);
        /* In a list or tuple, read what has no parts as long as it comes. */
        if (level.form <= TUPLE) {
            for (; kind != LIST && left > 1; left--, kind = begin(r, &n)) {
                if (kind == STRING)
                    count_string(r, n);
                if (push(r, scalar(r, kind, n)) < 0)
                    return -1;
            }
            level.left = left;
        }
        if (kind == STRING)
            count_string(r, n);
        int opened = 0;
        PyObject *value = kind == LIST               ? read_list(r, n, &level, &opened)
                          : level.form == REFERENCE ? NULL
                                                    : scalar(r, kind, n);
        if (opened)
            continue;
        if (push(r, value) < 0)
            return -1;
        level.left--;
        while (level.left == 0) {
            if (r->n_levels == 0)
                return r->n_known > 0 && r->walked > r->items + r->own ? -1 : 0;
            if (push(r, made(r, &level)) < 0)
                return -1;
            level = r->levels[--r->n_levels];
            level.left--;
        }
    }
}

/* Read a header field: an int or bytes. */
static PyObject *
read_raw(Reader *r)
{
    uint64_t n = 0;
    int kind = begin(r, &n);
    return kind == FLOAT || kind == LIST ? NULL : scalar(r, kind, n);
}

/* Read the name of a method. */
static PyObject *
read_name(Reader *r)
{
    Py_ssize_t length;
    const char *text = text_of(r, &length);
    return text == NULL ? NULL : PyUnicode_DecodeUTF8(text, length, NULL);
}

static PyObject *
read_message(Reader *r)
{
    const State *state = r->state;
    int call = SKIP(r, "\x07\x80\x07\x82message") || (r->vocabulary && SKIP(r, "\x07\x80\x1a\x87"));
    if (!call && !SKIP(r, "\x03\x80\x06\x82" "answer") && !(r->vocabulary && SKIP(r, "\x03\x80\x1b\x87")))
        return NULL;
    if (push(r, Py_NewRef(call ? state->message : state->answer)) < 0 || push(r, read_raw(r)) < 0)
        return NULL;
    if (call) {
        if (push(r, read_raw(r)) < 0 || push(r, read_name(r)) < 0 || push(r, read_raw(r)) < 0 || read_jelly(r) < 0)
            return NULL;
        PyObject *args = r->values[r->n_values - 1];
        if (!PyTuple_CheckExact(args) && !PyList_CheckExact(args))
            return NULL;
    }
    if (read_jelly(r) < 0 || (call && !PyDict_CheckExact(r->values[r->n_values - 1])))
        return NULL;
    return tuple_of_values(r, 0);
}

/* Read a call or an answer with which some bytes begin, in the dialect `pb`. Sets `end`, behind it. */
static PyObject *
read_plain(State *state, const uint8_t *data, Py_ssize_t size, Py_ssize_t depth, int64_t items, Py_ssize_t *end)
{
    Reader r;
    begin_reader(&r, state, data, size, 1);
    r.prefix = state->max_prefix;
    r.depth = Py_MIN(depth, state->max_depth);
    r.items = items;
    PyObject *found = read_message(&r);
    *end = r.at - data;
    end_reader(&r);
    return found;
}

static PyObject *
codec_decodePlain(SIGNATURE)
{
    static const char *const names[] = {"message", "vocabulary", "items"};
    PyObject *given[3];
    Reader r;
    State *state = PyModule_GetState(module);
    int vocabulary;
    if (arguments("decodePlain", names, 1, 3, args, nargs, kwnames, given) < 0
        || (vocabulary = message_arguments(given)) < 0)
        return NULL;
    Py_ssize_t items = given[2] == NULL ? state->max_items : PyLong_AsSsize_t(given[2]);
    if (items == -1 && PyErr_Occurred())
        return NULL;
    if (vocabulary && state->ready == given[0]) {
        /* Once only: what is returned belongs to the caller. */
        PyObject *plain = state->ready_plain;
        state->ready_plain = NULL;
        Py_CLEAR(state->ready);
        return plain;
    }
    begin_reader(&r, state, (const uint8_t *)PyBytes_AS_STRING(given[0]), PyBytes_GET_SIZE(given[0]), vocabulary);
    r.prefix = state->max_prefix;
    r.depth = state->max_depth;
    r.items = Py_MIN(items, LARGEST_LIMIT);
    PyObject *found = read_message(&r);
    if (r.at != r.end)
        Py_CLEAR(found);
    end_reader(&r);
    return or_none(found);
}

/* ---------------------------------------------------------------------------------------------- bytes */

typedef struct {
    State *state;
    uint8_t *bytes;
    Py_ssize_t used, room;
    int vocabulary;
    Py_ssize_t string, digits;
    /* The addresses of the containers of this jelly: a hash table that is never more than half full. */
    const void **seen;
    Py_ssize_t n_seen;
    int seen_bits;
    /* Whether a container came a second time. Then all is written anew, with `numbers`: for each place of the table the
       number of the container, negative once the container was written; 0 if it comes only once. */
    int repeated;
    int32_t *numbers, n_numbers;
    /* Enough for most calls. */
    uint8_t some_bytes[512];
    const void *some_seen[32];
} Writer;

/* Begin another jelly. */
static void
forget_seen(Writer *w)
{
    if (w->seen != w->some_seen)
        PyMem_Free(w->seen);
    PyMem_Free(w->numbers);
    w->seen = w->some_seen;
    w->seen_bits = 5;
    w->n_seen = 0;
    w->repeated = 0;
    w->numbers = NULL;
    w->n_numbers = 0;
    memset(w->some_seen, 0, sizeof(w->some_seen));
}

/* Make a Writer for the last three arguments of a function: vocabulary, string, and digits, which may be NULL for 64. */
static int
begin_writer(Writer *w, State *state, PyObject *const *given)
{
    w->state = state;
    w->vocabulary = PyObject_IsTrue(given[0]);
    w->string = PyLong_AsSsize_t(given[1]);
    w->digits = given[2] == NULL ? 64 : PyLong_AsSsize_t(given[2]);
    if (w->vocabulary < 0 || ((w->string == -1 || w->digits == -1) && PyErr_Occurred()))
        return -1;
    if (w->string < 0 || w->digits < 0) {
        PyErr_Format(PyExc_ValueError, "invalid limit %zd: expected 0 or more", Py_MIN(w->string, w->digits));
        return -1;
    }
    w->bytes = w->some_bytes;
    w->used = 0;
    w->room = sizeof(w->some_bytes);
    w->seen = w->some_seen;
    w->numbers = NULL;
    forget_seen(w);
    return 0;
}

/* Return what was written, if `result` says that it went well. Ends the Writer. */
static PyObject *
end_writer(Writer *w, int result)
{
    PyObject *found = result < 0 ? NULL : PyBytes_FromStringAndSize((const char *)w->bytes, w->used);
    if (w->bytes != w->some_bytes)
        PyMem_Free(w->bytes);
    if (w->seen != w->some_seen)
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
    uint8_t *bytes = PyMem_Realloc(w->bytes == w->some_bytes ? NULL : w->bytes, (size_t)room);
    if (bytes == NULL)
        return -1;
    if (w->bytes == w->some_bytes)
        memcpy(bytes, w->some_bytes, (size_t)w->used);
    w->bytes = bytes;
    w->room = room;
    return 0;
}

/* Have room for so many bytes more. */
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
#define PUT(w, bytes) put(w, bytes, sizeof(bytes) - 1)

/* Write a number of at most ten digits, and a type byte. */
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

/* Return the number of a word, or 0. */
static inline int
number_of(const State *state, const char *text, Py_ssize_t length)
{
    if (length > LONGEST_WORD)
        return 0;
    const uint8_t *numbers = state->numbers[length];
    for (int i = 0; numbers[i] != 0; i++)
        if (state->initials[length][i] == text[0]
            && memcmp(PyBytes_AS_STRING(state->words[numbers[i]]), text, (size_t)length) == 0)
            return numbers[i];
    return 0;
}

static int
put_string(Writer *w, const char *text, Py_ssize_t length)
{
    int word = w->vocabulary ? number_of(w->state, text, length) : 0;
    if (word)
        return put_number(w, (uint64_t)word, VOCAB);
    if (length > w->string)
        return -1;
    return put_number(w, (uint64_t)length, STRING) < 0 ? -1 : put(w, text, length);
}

/* Write a word of the vocabulary, by its number. */
static int
put_word(Writer *w, int word)
{
    if (w->vocabulary)
        return put_number(w, (uint64_t)word, VOCAB);
    PyObject *text = w->state->words[word];
    Py_ssize_t length = PyBytes_GET_SIZE(text);
    return put_number(w, (uint64_t)length, STRING) < 0 ? -1 : put(w, PyBytes_AS_STRING(text), length);
}

/* Write an int of more than 64 bits. */
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
    if (PUT(w, "\x02\x80\x07\x82unicode") < 0)
        return -1;
    if (PyUnicode_IS_COMPACT_ASCII(value))
        return put_string(w, PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value));
    /* Not PyUnicode_AsUTF8AndSize, because the text would keep the bytes for as long as it lives. */
    PyObject *raw = PyUnicode_AsUTF8String(value);
    if (raw == NULL)
        return -1;
    int result = put_string(w, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw));
    Py_DECREF(raw);
    return result;
}

/* Write a header field, or an expression that has no parts. */
static int
put_raw(Writer *w, PyObject *value)
{
    if (PyLong_CheckExact(value) || PyBool_Check(value))
        return put_int(w, value);
    return PyBytes_CheckExact(value) ? put_string(w, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)) : -1;
}

/* ---------------------------------------------------------------------------------------------- encodePlain */

static inline const void **
seen_place(const void **seen, int bits, const void *address)
{
    size_t place = (size_t)(((uint64_t)(uintptr_t)address * 0x9E3779B97F4A7C15u) >> (64 - bits));
    while (seen[place] != NULL && seen[place] != address)
        place = (place + 1) & (((size_t)1 << bits) - 1);
    return &seen[place];
}

/* Have room for one more in the table of containers. */
static int
grow_seen(Writer *w)
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
        const void **place = seen_place(more, bits, w->seen[i]);
        *place = w->seen[i];
        if (numbers != NULL)
            numbers[place - more] = w->numbers[i];
    }
    if (w->seen != w->some_seen)
        PyMem_Free(w->seen);
    PyMem_Free(w->numbers);
    w->seen = more;
    w->seen_bits = bits;
    w->numbers = numbers;
    return 0;
}

/*
 * Return whether a container cannot come twice, because all that refers to it is what holds it, and `held` references of
 * our own. Where Python has no GIL, its reference counts do not say that.
 */
static inline int
is_single(PyObject *value, Py_ssize_t held)
{
#ifdef Py_GIL_DISABLED
    return 0;
#else
    return Py_REFCNT(value) <= held + 1;
#endif
}

/* Note a container. Return -1 if it was noted before. */
static int
note(Writer *w, const void *address)
{
    if (grow_seen(w) < 0)
        return -1;
    const void **place = seen_place(w->seen, w->seen_bits, address);
    if (*place != NULL) {
        w->repeated = 1;
        return -1;
    }
    *place = address;
    w->n_seen++;
    return 0;
}

/* Write the number of a container that comes more than once: before it or in its place. Return 1 if that is all. */
static int
put_reference(Writer *w, PyObject *value)
{
    const void **place = seen_place(w->seen, w->seen_bits, value);
    if (*place == NULL)
        return -1; /* It was not there when they were counted. */
    int32_t *number = &w->numbers[place - w->seen];
    if (*number == 0)
        return 0;
    if (*number < 0) {
        if (PUT(w, "\x02\x80") < 0 || put_word(w, w->state->dereference) < 0)
            return -1;
        return put_number(w, (uint64_t)-*number, INT) < 0 ? -1 : 1;
    }
    if (PUT(w, "\x03\x80") < 0 || put_word(w, w->state->reference) < 0 || put_number(w, (uint64_t)*number, INT) < 0)
        return -1;
    *number = -*number;
    return 0;
}

static inline int
is_container(PyObject *value)
{
    return PyList_CheckExact(value) || PyTuple_CheckExact(value) || PyDict_CheckExact(value)
           || PyAnySet_CheckExact(value);
}

static inline Py_ssize_t
size_of(PyObject *container)
{
    if (PyDict_CheckExact(container))
        return PyDict_GET_SIZE(container);
    return PyAnySet_CheckExact(container) ? PySet_GET_SIZE(container) : Py_SIZE(container);
}

/*
 * What is done with each value of a container: `write_value`, `count_value` or `write_expression`. `held` is how many
 * references to the value there are beside that of the container.
 */
typedef int (*Visit)(Writer *w, PyObject *value, Py_ssize_t depth, Py_ssize_t held);

/* Visit a value. Takes it over. */
static inline int
visit_owned(Visit visit, Writer *w, PyObject *value, Py_ssize_t depth)
{
    int result = visit(w, value, depth, 1);
    Py_DECREF(value);
    return result;
}

/*
 * Visit what is in a container of `n` items. Fails if the container changes meanwhile. `pair`: whether what begins a pair
 * is written before each key.
 */
static inline int
visit_all(Visit visit, Writer *w, PyObject *value, Py_ssize_t n, Py_ssize_t depth, int pair)
{
    PyObject *key, *of;
    Py_ssize_t place = 0;
    if (PyList_CheckExact(value)) {
        for (Py_ssize_t i = 0; i < n; i++)
            if (PyList_GET_SIZE(value) != n || visit_owned(visit, w, Py_NewRef(PyList_GET_ITEM(value, i)), depth) < 0)
                return -1;
        return 0;
    }
    if (PyTuple_CheckExact(value)) {
        for (Py_ssize_t i = 0; i < n; i++)
            if (visit(w, PyTuple_GET_ITEM(value, i), depth, 0) < 0)
                return -1;
        return 0;
    }
    if (PyDict_CheckExact(value)) {
        while (PyDict_Next(value, &place, &key, &of)) {
            Py_INCREF(of);
            int result = pair && PUT(w, "\x02\x80") < 0 ? -1 : visit_owned(visit, w, Py_NewRef(key), depth);
            if (result == 0)
                result = visit(w, of, depth, 1);
            Py_DECREF(of);
            if (result < 0 || n-- == 0)
                return -1;
        }
        return n == 0 ? 0 : -1;
    }
    PyObject *all = PyObject_GetIter(value);
    if (all == NULL)
        return -1;
    while (n >= 0 && (key = PyIter_Next(all)) != NULL)
        n = visit_owned(visit, w, key, depth) < 0 ? -1 : n - 1;
    Py_DECREF(all);
    return n == 0 && !PyErr_Occurred() ? 0 : -1;
}

static int write_value(Writer *w, PyObject *value, Py_ssize_t depth, Py_ssize_t held);

static int
write_container(Writer *w, PyObject *value, Py_ssize_t depth, Py_ssize_t held)
{
    const State *state = w->state;
    int word = PyList_CheckExact(value)    ? state->list
               : PyTuple_CheckExact(value) ? state->tuple
               : PyDict_CheckExact(value)  ? state->dictionary
                                           : 0;
    if (word == 0 && !PyAnySet_CheckExact(value))
        return -1;
    Py_ssize_t n = size_of(value);
    if (depth == 0 || n >= w->string)
        return -1;
    int done = 0;
    if (!is_single(value, held))
        done = w->numbers == NULL ? note(w, value) : put_reference(w, value);
    if (done != 0)
        return done < 0 ? -1 : 0;
    if (put_number(w, (uint64_t)n + 1, LIST) < 0)
        return -1;
    if (word != 0)
        done = put_word(w, word);
    else
        done = PyFrozenSet_CheckExact(value) ? PUT(w, "\x09\x82" "frozenset") : PUT(w, "\x03\x82" "set");
    return done < 0 ? -1 : visit_all(write_value, w, value, n, depth - 1, 1);
}

/* Write a plain value as jelly has it. */
static int
write_value(Writer *w, PyObject *value, Py_ssize_t depth, Py_ssize_t held)
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
        return PUT(w, "\x01\x80") < 0 ? -1 : put_word(w, w->state->none);
    if (value == Py_True)
        return PUT(w, "\x02\x80\x07\x82" "boolean\x04\x82true");
    if (value == Py_False)
        return PUT(w, "\x02\x80\x07\x82" "boolean\x05\x82" "false");
    return write_container(w, value, depth, held);
}

/* Give a number to each container that comes again, in the order in which they do, as jelly does. */
static int
count_value(Writer *w, PyObject *value, Py_ssize_t depth, Py_ssize_t held)
{
    if (!is_container(value))
        return 0;
    if (is_single(value, held))
        return depth == 0 ? -1 : visit_all(count_value, w, value, size_of(value), depth - 1, 0);
    const void **place = seen_place(w->seen, w->seen_bits, value);
    if (*place != NULL) {
        int32_t *number = &w->numbers[place - w->seen];
        if (*number == 0)
            *number = ++w->n_numbers;
        return 0;
    }
    if (depth == 0 || note(w, value) < 0)
        return -1;
    return visit_all(count_value, w, value, size_of(value), depth - 1, 0);
}

/* Write a plain value that is a jelly of its own: what comes twice in it is sent once. */
static int
write_jelly(Writer *w, PyObject *value)
{
    const Py_ssize_t start = w->used, depth = w->state->max_depth;
    if (w->n_seen > 0 || w->numbers != NULL)
        forget_seen(w);
    if (write_value(w, value, depth, 0) == 0)
        return 0;
    if (!w->repeated || PyErr_Occurred())
        return -1;
    /* Rare, so this is not looked for beforehand: count what comes more than once, and begin again. */
    forget_seen(w);
    w->used = start;
    w->numbers = PyMem_Calloc((size_t)1 << w->seen_bits, sizeof(int32_t));
    if (w->numbers == NULL || count_value(w, value, depth, 0) < 0)
        return -1;
    return write_value(w, value, depth, 0);
}

/* Take `count` arguments, the last three of which are those of a Writer, and begin it. */
#define BEGIN(name, count, ...)                                                             \
    static const char *const names[] = {__VA_ARGS__, "vocabulary", "string", "digits"};     \
    PyObject *given[count];                                                                 \
    Writer w;                                                                               \
    if (arguments(name, names, (count) - 1, count, args, nargs, kwnames, given) < 0         \
        || begin_writer(&w, PyModule_GetState(module), given + (count) - 3) < 0)            \
        return NULL;

static PyObject *
codec_encodePlain(SIGNATURE)
{
    BEGIN("encodePlain", 4, "value")
    return or_none(end_writer(&w, write_jelly(&w, given[0])));
}

/* ---------------------------------------------------------------------------------------------- whole messages */

static PyObject *
codec_encodeAnswer(SIGNATURE)
{
    BEGIN("encodeAnswer", 5, "requestID", "value")
    int result = PUT(&w, "\x03\x80") < 0 || put_word(&w, w.state->reply) < 0 || put_raw(&w, given[0]) < 0;
    return or_none(end_writer(&w, result ? -1 : write_jelly(&w, given[1])));
}

/* Write the name of a method. */
static int
put_name(Writer *w, PyObject *name)
{
    if (!PyUnicode_CheckExact(name))
        return PyBytes_CheckExact(name) ? put_raw(w, name) : -1;
    PyObject *raw = PyUnicode_AsUTF8String(name);
    if (raw == NULL)
        return -1;
    int result = put_raw(w, raw);
    Py_DECREF(raw);
    return result;
}

/* Write name, answerRequired, args, kw. */
static int
write_tail(Writer *w, PyObject *const *parts)
{
    if (!PyTuple_CheckExact(parts[2]) || !PyDict_CheckExact(parts[3]))
        return -1;
    if (put_name(w, parts[0]) < 0 || put_raw(w, parts[1]) < 0 || write_jelly(w, parts[2]) < 0)
        return -1;
    return write_jelly(w, parts[3]);
}

/* Write the beginning of a call, of prefix, requestID, objectID. */
static int
write_ids(Writer *w, PyObject *const *parts)
{
    PyObject *prefix = parts[0];
    if (!PyBytes_Check(prefix))
        return -1;
    int word = PyBytes_GET_SIZE(prefix) == 0                                        ? w->state->call
               : is(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix), "cache") ? w->state->cache_call
                                                                                    : 0;
    if (word == 0 || PUT(w, "\x07\x80") < 0 || put_word(w, word) < 0 || put_raw(w, parts[1]) < 0)
        return -1;
    return put_raw(w, parts[2]);
}

static PyObject *
codec_encodeTail(SIGNATURE)
{
    BEGIN("encodeTail", 7, "name", "answerRequired", "args", "kw")
    return or_none(end_writer(&w, write_tail(&w, given)));
}

static PyObject *
codec_encodeCall(SIGNATURE)
{
    BEGIN("encodeCall", 10, "prefix", "requestID", "objectID", "name", "answerRequired", "args", "kw")
    return or_none(end_writer(&w, write_ids(&w, given) < 0 ? -1 : write_tail(&w, given + 3)));
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
        end_writer(&w, result < 0 ? -1 : put(&w, PyBytes_AS_STRING(given[3]), PyBytes_GET_SIZE(given[3]))));
}

/* ---------------------------------------------------------------------------------------------- encode */

/* Write an expression of exact types. */
static int
write_expression(Writer *w, PyObject *value, Py_ssize_t depth, Py_ssize_t Py_UNUSED(held))
{
    if (!PyList_CheckExact(value) && !PyTuple_CheckExact(value))
        return PyFloat_CheckExact(value) ? put_float(w, value) : put_raw(w, value);
    Py_ssize_t n = Py_SIZE(value);
    if (depth == 0 || n > w->string || put_number(w, (uint64_t)n, LIST) < 0)
        return -1;
    return visit_all(write_expression, w, value, n, depth - 1, 0);
}

static PyObject *
codec_encode(SIGNATURE)
{
    BEGIN("encode", 4, "expression")
    PyObject *found = end_writer(&w, write_expression(&w, given[0], w.state->max_depth, 0));
    if (found != NULL)
        return found;
    /* What is odd, too deep or too large is left to the codec in Python, which also raises the errors. */
    PyErr_Clear();
    return PyObject_Vectorcall(w.state->pure_encode, args, (size_t)nargs, kwnames);
}

/* ---------------------------------------------------------------------------------------------- the module */

#define METHOD(name, doc) {#name, (PyCFunction)(void (*)(void))codec_##name, METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef methods[] = {
    METHOD(crowded, "Return True if a container of these keys should not be built."),
    METHOD(decode, "Return what stock's Banana makes of a message."),
    METHOD(decodePlain, "Return what a call or an answer says, if everything in it is plain, or None."),
    METHOD(encode, "Return what stock's Banana writes for an expression."),
    METHOD(encodeAnswer, "Return a whole answer, or None."),
    METHOD(encodeCall, "Return a whole call, or None."),
    METHOD(encodePlain, "Return one value alone, or None."),
    METHOD(encodeTail, "Return the part of a call that is the same for many peers, or None."),
    METHOD(splice, "Return a call, made of a tail and the ids that differ between connections, or None."),
    {NULL, NULL, 0, NULL},
};

/* Read a constant of a module in Python. */
static int
read_limit(PyObject *module, const char *name, Py_ssize_t least, Py_ssize_t most, Py_ssize_t *limit)
{
    PyObject *value = PyObject_GetAttrString(module, name);
    if (value == NULL)
        return -1;
    *limit = PyLong_AsSsize_t(value);
    Py_DECREF(value);
    if (PyErr_Occurred())
        return -1;
    if (*limit < least || *limit > most) {
        PyErr_Format(PyExc_ImportError, "invalid %s %zd: expected %zd to %zd", name, *limit, least, most);
        return -1;
    }
    return 0;
}

static int
read_limits(State *state, PyObject *pure, PyObject *hashflood)
{
    const Py_ssize_t most = 1 << 30;
    const struct {
        PyObject *module;
        const char *name;
        Py_ssize_t least, most, *limit;
    } limits[] = {
        {pure, "MAX_DEPTH", 1, 1024, &state->max_depth},
        /* `begin` looks at eight digits without counting them. */
        {pure, "MAX_PREFIX", 8, most, &state->max_prefix},
        {pure, "MAX_ITEMS", 1, most, &state->max_items},
        {hashflood, "COLLISIONS", 1, most, &state->collisions},
        {hashflood, "PLACES", 1, most, &state->places},
        {hashflood, "FREE_PLACES", 1, most, &state->free_places},
        {hashflood, "NEIGHBOURS", 0, most, &state->neighbours},
        {hashflood, "NEIGHBOURS_COST", 1, most, &state->neighbours_cost},
        {hashflood, "SMALLEST_DICT", 8, most, &state->smallest_dict},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(limits); i++)
        if (read_limit(limits[i].module, limits[i].name, limits[i].least, limits[i].most, limits[i].limit) < 0)
            return -1;
    return 0;
}

/* Add one word of the vocabulary. Takes over `word`, which the state keeps. */
static int
add_word(State *state, long number, PyObject *word)
{
    if (word == NULL)
        return -1;
    if (!PyBytes_CheckExact(word) || number < 1 || number >= MOST_WORDS || state->words[number] != NULL
        || PyBytes_GET_SIZE(word) < 1 || PyBytes_GET_SIZE(word) > LONGEST_WORD) {
        Py_DECREF(word);
        return -1;
    }
    state->words[number] = word;
    Py_ssize_t length = PyBytes_GET_SIZE(word);
    int place = 0;
    while (state->numbers[length][place] != 0)
        place++;
    if (place == MOST_OF_A_LENGTH)
        return -1;
    state->numbers[length][place] = (uint8_t)number;
    state->initials[length][place] = PyBytes_AS_STRING(word)[0];
    return 0;
}

static int
read_words(State *state, PyObject *pure)
{
    PyObject *words = PyObject_GetAttrString(pure, "WORDS"), *number, *word;
    Py_ssize_t place = 0;
    int result = words != NULL && PyDict_CheckExact(words) ? 0 : -1;
    while (result == 0 && PyDict_Next(words, &place, &number, &word))
        result = add_word(state, PyLong_AsLong(number), Py_NewRef(word));
    Py_XDECREF(words);
    const struct {
        const char *word;
        uint8_t *number;
    } needed[] = {
        {"None", &state->none},           {"list", &state->list},
        {"tuple", &state->tuple},         {"dictionary", &state->dictionary},
        {"reference", &state->reference}, {"dereference", &state->dereference},
        {"message", &state->call},        {"cachemessage", &state->cache_call},
        {"answer", &state->reply},
    };
    for (size_t i = 0; result == 0 && i < Py_ARRAY_LENGTH(needed); i++) {
        *needed[i].number = (uint8_t)number_of(state, needed[i].word, (Py_ssize_t)strlen(needed[i].word));
        result = *needed[i].number == 0 ? -1 : 0;
    }
    /* The codec writes and compares these two numbers as bytes. */
    if (result == 0 && (state->call != 0x1A || state->reply != 0x1B))
        result = -1;
    if (result < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ImportError, "Banana's vocabulary is not the one that this codec was written for");
    return result;
}

static int
codec_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyObject *errors = PyImport_ImportModule("pbkit.errors");
    PyObject *pure = errors == NULL ? NULL : PyImport_ImportModule("pbkit.wire.codec.pure");
    PyObject *hashflood = pure == NULL ? NULL : PyImport_ImportModule("pbkit.wire.codec.hashflood");
    int result = -1;
    if (hashflood != NULL) {
        state->TooLarge = PyObject_GetAttrString(errors, "TooLarge");
        state->Malformed = PyObject_GetAttrString(errors, "Malformed");
        state->pure_encode = PyObject_GetAttrString(pure, "encode");
        state->message = PyUnicode_InternFromString("message");
        state->answer = PyUnicode_InternFromString("answer");
        state->Framer = (PyTypeObject *)PyType_FromModuleAndSpec(module, &framer_spec, NULL);
        if (state->TooLarge != NULL && state->Malformed != NULL && state->pure_encode != NULL && state->message != NULL
            && state->answer != NULL && state->Framer != NULL && read_limits(state, pure, hashflood) == 0
            && read_words(state, pure) == 0)
            result = PyModule_AddObjectRef(module, "Framer", (PyObject *)state->Framer);
    }
    Py_XDECREF(errors);
    Py_XDECREF(pure);
    Py_XDECREF(hashflood);
    if (result == 0)
        /* Hashes of text are made with a key that each process chooses for itself. */
        state->secret = (uint64_t)PyObject_Hash(state->message) * 0x9E3779B97F4A7C15u;
    return result;
}

static int
codec_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    if (state == NULL)
        return 0;
    Py_VISIT(state->Framer);
    Py_VISIT(state->TooLarge);
    Py_VISIT(state->Malformed);
    Py_VISIT(state->pure_encode);
    Py_VISIT(state->ready_plain);
    return 0;
}

static int
codec_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    if (state == NULL)
        return 0;
    Py_CLEAR(state->Framer);
    Py_CLEAR(state->TooLarge);
    Py_CLEAR(state->Malformed);
    Py_CLEAR(state->pure_encode);
    Py_CLEAR(state->message);
    Py_CLEAR(state->answer);
    Py_CLEAR(state->ready);
    Py_CLEAR(state->ready_plain);
    for (int i = 0; i < MOST_WORDS; i++)
        Py_CLEAR(state->words[i]);
    for (int i = 0; i < KEYS; i++)
        Py_CLEAR(state->keys[i]);
    return 0;
}

static void
codec_free(void *module)
{
    codec_clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, codec_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_GIL_DISABLED
    /* A Framer and the remembered keys are used without locks, and containers of the caller's are walked without them. So
       a free-threaded build of Python switches the GIL on when this module is imported; PBKIT_PURE=1 avoids that. */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pbkit.wire.codec._codec",
    .m_doc = "The codec, compiled. See pbkit.wire.codec.pure for what each function promises.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = codec_traverse,
    .m_clear = codec_clear,
    .m_free = codec_free,
};

PyMODINIT_FUNC
PyInit__codec(void)
{
    return PyModuleDef_Init(&definition);
}
