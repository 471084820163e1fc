# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin shell over host.h. hosting.py has checked the arguments; numpy is used through buffers only."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from sl_host cimport *

cdef enum:
    MAX_TENSORS = 16
    MAX_RANK = 8
    SLICE_NANOSECONDS = 100_000_000  # how soon Ctrl-C is seen

ctypedef void (*finished_callback)(void *) noexcept nogil

_threading = __import__("threading")
_lock = _threading.Lock()


class TritonError(Exception):
    """What the server says. code: its word, such as 'Not found'."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code_word = code
        self.text = text


cdef object error_of(sl_fault *fault):
    return TritonError(fault.code.decode("utf-8", "replace"), fault.text.decode("utf-8", "replace"))


def load(library: bytes) -> None:
    """Open libtritonserver; OSError where it cannot be."""
    with _lock:
        wrong = triton_load(library)
        if wrong is not NULL:
            raise OSError(wrong.decode("utf-8", "replace"))


def preload(library: bytes) -> None:
    """Open a backend's library by its real path."""
    with _lock:
        wrong = triton_preload(library)
        if wrong is not NULL:
            raise OSError(wrong.decode("utf-8", "replace"))


cdef class Block:
    """Memory of one output; goes back when nobody reads it any more."""

    cdef void *data
    cdef Py_ssize_t size

    def __cinit__(self):
        self.data = NULL

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)

    def __dealloc__(self):
        sl_block_give(self.data)


cdef class Values:
    """Tensors as the C side wants them; holds their memory and names."""

    cdef sl_value values[MAX_TENSORS]
    cdef int64_t shapes[MAX_TENSORS][MAX_RANK]
    cdef Py_buffer views[MAX_TENSORS]
    cdef size_t count
    cdef list kept

    def __cinit__(self):
        self.count = 0
        self.kept = []

    cdef int add(self, bytes name, bytes datatype, tuple shape, object array, bint writable) except -1:
        cdef size_t n = self.count
        cdef int flags = PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0)
        if n == MAX_TENSORS or len(shape) > MAX_RANK:
            raise ValueError(f"at most {MAX_TENSORS} tensors of {MAX_RANK} dimensions go into a request")
        PyObject_GetBuffer(array, &self.views[n], flags)
        self.count += 1
        self.kept.append((name, datatype))
        for i, extent in enumerate(shape):
            self.shapes[n][i] = extent
        self.values[n].name = name
        self.values[n].datatype = datatype
        self.values[n].shape = &self.shapes[n][0]
        self.values[n].rank = len(shape)
        self.values[n].data = self.views[n].buf
        self.values[n].bytes = self.views[n].len
        return 0

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])


cdef class Call:
    """A request under way. Holds the inputs until the server has let go of them."""

    cdef sl_call *call
    cdef Values inputs
    cdef Values own
    cdef object callback
    cdef Host host
    cdef object __weakref__

    def cancel(self) -> None:
        """Ask the server to give the request up; it still finishes."""
        if self.call is not NULL:
            sl_call_cancel(self.call)

    cdef list outputs(self):
        """(name, datatype, shape, block or None where the caller's own buffer holds it) of each output."""
        cdef sl_fault fault
        cdef sl_value value
        cdef Block block
        cdef uint32_t i
        if not sl_call_succeeded(self.call, &fault):
            raise error_of(&fault)
        found = []
        for i in range(sl_call_output_count(self.call)):
            if not sl_call_output(self.call, i, &value, &fault):
                raise error_of(&fault)
            shape = tuple([value.shape[k] for k in range(<Py_ssize_t> value.rank)])
            block = Block()
            block.data = sl_call_take_block(self.call, value.data)
            block.size = value.bytes
            name = value.name.decode()
            own = value.data is not NULL and block.data is NULL
            found.append((name, value.datatype.decode(), shape, None if own else block))
        return found

    cdef void drop(self):
        """After the end: give everything back now, for an exception's traceback may hold this object for long."""
        cdef sl_call *call = self.call
        self.call = NULL
        self.inputs = self.own = None
        sl_call_free(call)

    def __dealloc__(self):
        sl_call_free(self.call)


cdef void call_finished(void *owner) noexcept with gil:
    cdef Call call = <Call> owner
    callback, call.callback = call.callback, None
    try:
        call.host.calls.discard(call)
        found, failure = None, None
        if callback is not None:
            try:
                found = call.outputs()
            except Exception as error:
                failure = error
        call.drop()
        if callback is not None:
            callback(found, failure)
    finally:
        Py_DECREF(call)


cdef class Host:
    """A server inside this process."""

    cdef sl_host *host
    cdef readonly set calls
    cdef Py_ssize_t users  # that have taken the pointer and may be without the GIL
    cdef object unused
    cdef object __weakref__

    def __cinit__(self):
        self.host = NULL
        self.calls = set()
        self.users = 0
        self.unused = _threading.Event()

    def open(self, bytes repository, bytes backends, bytes log_file, list models, list settings,
             unsigned int exit_seconds, unsigned int load_threads):
        """models: names; settings: (backend, name, value). All bytes. Raises TritonError."""
        cdef sl_host_options options
        cdef sl_fault fault
        cdef bint good
        cdef const char **names = <const char **> calloc(len(models) + 1, sizeof(char *))
        cdef sl_setting *pairs = <sl_setting *> calloc(len(settings) + 1, sizeof(sl_setting))
        if names is NULL or pairs is NULL:
            free(names)
            free(pairs)
            raise MemoryError
        for i in range(len(models)):
            names[i] = <bytes> models[i]
        for i in range(len(settings)):
            pairs[i].backend = <bytes> settings[i][0]
            pairs[i].name = <bytes> settings[i][1]
            pairs[i].value = <bytes> settings[i][2]
        memset(&options, 0, sizeof(options))
        options.repository = repository
        options.backends = backends
        options.log_file = log_file
        options.models = names
        options.model_count = len(models)
        options.settings = pairs
        options.setting_count = len(settings)
        options.exit_seconds = exit_seconds
        options.load_threads = load_threads
        with nogil:
            good = sl_host_open(&options, &self.host, &fault)
        free(names)
        free(pairs)
        if not good:
            raise error_of(&fault)

    def close(self):
        """Cancel what is under way, stop and free the server. Raises TritonError where it cannot be freed."""
        cdef sl_fault fault
        cdef bint good
        cdef sl_host *host = self.host
        self.host = NULL
        if host is NULL:
            return
        self.unused.clear()
        while self.users > 0:
            self.unused.wait()
        for call in list(self.calls):
            call.cancel()
        with nogil:
            good = sl_host_close(host, &fault)
        if not good:
            raise error_of(&fault)

    cdef sl_host *opened(self) except NULL:
        if self.host is NULL:
            raise TritonError("Unavailable", "the server in this process is stopped")
        return self.host

    cdef sl_host *enter(self) except NULL:
        """The server, which stays until exit()."""
        cdef sl_host *host = self.opened()
        self.users += 1
        return host

    cdef int exit(self) except -1:
        self.users -= 1
        if self.users == 0:
            self.unused.set()
        return 0

    def ready(self, model):
        """Whether the server, or a model where one is named (bytes), is ready."""
        cdef cbool ready = False
        cdef sl_fault fault
        cdef const char *name = NULL
        cdef sl_host *host
        cdef bint good
        if model is not None:
            name = <bytes> model
        host = self.enter()
        with nogil:
            good = sl_host_ready(host, name, &ready, &fault)
        self.exit()
        if not good:
            raise error_of(&fault)
        return bool(ready)

    def config(self, bytes model):
        """The model's configuration as JSON."""
        cdef char *json = NULL
        cdef sl_fault fault
        if not sl_host_config(self.opened(), model, &json, &fault):
            raise error_of(&fault)
        try:
            return (<bytes> json).decode("utf-8", "replace")
        finally:
            free(json)

    def index(self):
        """All models with state and reason as JSON."""
        cdef char *json = NULL
        cdef sl_fault fault
        if not sl_host_index(self.opened(), &json, &fault):
            raise error_of(&fault)
        try:
            return (<bytes> json).decode("utf-8", "replace")
        finally:
            free(json)

    def start(self, bytes model, list inputs, list own, object callback):
        """Start a request and return its Call. inputs, own: (name, datatype, shape, array), names in bytes.

        callback(outputs, error) is called once on a thread of the server; without one, finish() waits.
        """
        cdef sl_host *host = self.enter()
        try:
            return self.begin(host, model, inputs, own, callback)
        finally:
            self.exit()

    cdef Call begin(self, sl_host *host, bytes model, list inputs, list own, object callback):
        cdef sl_fault fault
        cdef bint good
        cdef Call call = Call()
        cdef const char *name = model
        cdef finished_callback finished = NULL
        if callback is not None:
            finished = call_finished
        call.host = self
        call.callback = callback
        call.inputs = Values()
        call.own = Values()
        for item in inputs:
            call.inputs.add(item[0], item[1], item[2], item[3], False)
        for item in own:
            call.own.add(item[0], item[1], item[2], item[3], True)
        self.calls.add(call)
        if callback is not None:
            Py_INCREF(call)
        with nogil:
            good = sl_call_start(host, name, call.inputs.values, call.inputs.count, call.own.values, call.own.count,
                                 finished, <void *> call, &call.call, &fault)
        if not good:
            call.callback = call.inputs = call.own = None
            self.calls.discard(call)
            if callback is not None:
                Py_DECREF(call)
            raise error_of(&fault)
        return call

    def finish(self, Call call, double seconds):
        """Outputs of a call without a callback; TimeoutError when it takes longer, and then it is cancelled."""
        cdef int64_t left = <int64_t> (min(seconds, 1e9) * 1e9)
        cdef int64_t slice
        cdef bint finished = False
        try:
            while left > 0 and not finished:
                slice = left if left < SLICE_NANOSECONDS else SLICE_NANOSECONDS
                with nogil:
                    finished = sl_call_wait(call.call, slice)
                left -= slice
                PyErr_CheckSignals()
        finally:
            if not finished:
                self.leave(call)
        if not finished:
            raise TimeoutError
        self.calls.discard(call)
        try:
            return call.outputs()
        finally:
            call.drop()

    cdef leave(self, Call call):
        sl_call_cancel(call.call)
        Py_INCREF(call)
        if not sl_call_leave(call.call, call_finished, <void *> call):
            self.calls.discard(call)
            call.drop()
            Py_DECREF(call)
