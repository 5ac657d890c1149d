/* A libcuda for tests: device memory is host memory, and everything asynchronous is lazy.
 *
 * An operation put on a stream (copy, kernel, event) is only queued. It runs when something waits for it:
 * the stream, an event behind it, the whole context. So a caller that forgets to wait sees old bytes, and
 * one that reuses or frees a buffer too early corrupts its data or raises the "hazards" counter.
 *
 * Tests drive it through the standin_* functions at the end: counters of what is alive, a log of the order
 * of calls, failures on demand, host implementations of kernels.
 *
 * One device, its primary context, blocking and non-blocking streams. Whatever else pycuda links to is
 * generated as a stub that returns CUDA_ERROR_NOT_SUPPORTED.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda.h>

#define MEMORY (8ull << 30)
#define MAX_ARGUMENTS 256

/* ---- state, all under one lock --------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef enum { DEVICE_MEMORY, PINNED_MEMORY } MemoryKind;

typedef struct Memory {
    MemoryKind kind;
    char *start;
    size_t bytes;
    struct Memory *next;
} Memory;

struct CUevent_st {
    unsigned long long recorded, reached; /* how often it was recorded, and how often that was reached */
    struct CUstream_st *stream;
};

typedef enum { COPY, KERNEL, RECORD, WAIT } Kind;

typedef struct Operation {
    Kind kind;
    char *to;
    const char *from;
    size_t bytes;
    CUevent event;
    unsigned long long generation;
    struct CUfunc_st *function;
    unsigned grid[3], block[3];
    char arguments[MAX_ARGUMENTS];
    struct Operation *next;
} Operation;

struct CUstream_st {
    unsigned id;
    Operation *first, *last;
    struct CUstream_st *next;
};

typedef void (*HostKernel)(const unsigned grid[3], const unsigned block[3], const void *arguments);

struct CUfunc_st {
    char name[64];
    HostKernel run;
};

struct CUmod_st {
    char *image;
};

static struct CUfunc_st kernels[8];
static int kernel_count;
static struct CUstream_st null_stream; /* the legacy default stream */
static struct CUstream_st *streams;
static Memory *memories;
static unsigned stream_ids;
static long long primary_retained, live_events, live_streams, live_modules, hazards, pushes, pops, unsupported;
static int primary; /* its address is the context's handle */
static __thread CUcontext stack[64];
static __thread int depth;

/* ---- log and failures ------------------------------------------------------------------------------ */

static char *log_text;
static size_t log_length, log_room;

static void note(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    if (log_length + length + 1 > log_room) {
        log_room = (log_length + length + 1) * 2;
        log_text = realloc(log_text, log_room);
    }
    memcpy(log_text + log_length, line, length);
    log_length += length;
    log_text[log_length] = 0;
}

static struct {
    char function[64];
    int skip, times, code;
} failures[8];
static int failure_count;

static CUresult injected(const char *function)
{
    for (int i = 0; i < failure_count; i++) {
        if (strcmp(failures[i].function, function) != 0)
            continue;
        if (failures[i].skip > 0) {
            failures[i].skip--;
        } else if (failures[i].times > 0) {
            failures[i].times--;
            note("%s fails with %d", function, failures[i].code);
            return failures[i].code;
        }
    }
    return CUDA_SUCCESS;
}

static CUresult current_context(void)
{
    if (depth == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    return primary_retained > 0 ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

int standin_unsupported(const char *function);

#define END(result)                        \
    do {                                   \
        CUresult end_result = (result);    \
        pthread_mutex_unlock(&lock);       \
        return end_result;                 \
    } while (0)
#define BEGIN                                                  \
    pthread_mutex_lock(&lock);                                 \
    do {                                                       \
        CUresult begin_failure = injected(__func__);           \
        if (begin_failure != CUDA_SUCCESS)                     \
            END(begin_failure);                                \
    } while (0)
#define BEGIN_IN_CONTEXT                                       \
    BEGIN;                                                     \
    do {                                                       \
        CUresult begin_context = current_context();            \
        if (begin_context != CUDA_SUCCESS)                     \
            END(begin_context);                                \
    } while (0)

/* ---- streams: queues that run when something waits -------------------------------------------------- */

static void run_until(CUstream stream, const Operation *last);

static void run(CUstream stream, const Operation *operation)
{
    switch (operation->kind) {
    case COPY:
        memcpy(operation->to, operation->from, operation->bytes);
        note("copied %zu on stream %u", operation->bytes, stream->id);
        break;
    case KERNEL:
        operation->function->run(operation->grid, operation->block, operation->arguments);
        note("ran %s on stream %u", operation->function->name, stream->id);
        break;
    case RECORD:
        operation->event->reached = operation->generation;
        note("reached event %p", (void *)operation->event);
        break;
    case WAIT:
        while (operation->event->reached < operation->generation && operation->event->stream->first)
            run_until(operation->event->stream, operation->event->stream->first);
        break;
    }
}

/* Run the queue's operations up to and including `last`, or all of them for NULL. */
static void run_until(CUstream stream, const Operation *last)
{
    while (stream->first) {
        Operation *operation = stream->first;
        int done = operation == last;
        stream->first = operation->next;
        if (!stream->first)
            stream->last = NULL;
        run(stream, operation);
        free(operation);
        if (done)
            return;
    }
}

static void run_all(void)
{
    run_until(&null_stream, NULL);
    for (CUstream stream = streams; stream; stream = stream->next)
        run_until(stream, NULL);
}

static CUstream resolve(CUstream stream)
{
    return stream ? stream : &null_stream;
}

static Operation *queue(CUstream stream, Kind kind)
{
    Operation *operation = calloc(1, sizeof *operation);
    operation->kind = kind;
    stream = resolve(stream);
    if (stream->last)
        stream->last->next = operation;
    else
        stream->first = operation;
    stream->last = operation;
    return operation;
}

static int touches(const Operation *operation, const Memory *memory)
{
    const char *end = memory->start + memory->bytes;
    if (operation->kind == COPY)
        return (operation->to >= memory->start && operation->to < end)
            || (operation->from >= memory->start && operation->from < end);
    if (operation->kind == KERNEL)
        for (int i = 0; i + sizeof(char *) <= MAX_ARGUMENTS; i += sizeof(char *)) {
            char *argument;
            memcpy(&argument, operation->arguments + i, sizeof argument);
            if (argument >= memory->start && argument < end)
                return 1;
        }
    return 0;
}

static void check_pending(CUstream stream, const Memory *memory)
{
    for (const Operation *operation = stream->first; operation; operation = operation->next)
        if (touches(operation, memory)) {
            hazards++;
            note("hazard: freed memory that stream %u still uses", stream->id);
        }
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    BEGIN_IN_CONTEXT;
    *stream = calloc(1, sizeof **stream);
    (*stream)->id = ++stream_ids;
    (*stream)->next = streams;
    streams = *stream;
    live_streams++;
    note("cuStreamCreate %u flags %u", (*stream)->id, flags);
    END(CUDA_SUCCESS);
}

CUresult cuStreamDestroy_v2(CUstream stream)
{
    BEGIN_IN_CONTEXT;
    if (stream->first) {
        hazards++;
        note("hazard: destroyed stream %u with work on it", stream->id);
        run_until(stream, NULL);
    }
    for (CUstream *link = &streams; *link; link = &(*link)->next)
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    free(stream);
    live_streams--;
    END(CUDA_SUCCESS);
}

CUresult cuStreamSynchronize(CUstream stream)
{
    BEGIN_IN_CONTEXT;
    run_until(resolve(stream), NULL);
    note("cuStreamSynchronize %u", resolve(stream)->id);
    END(CUDA_SUCCESS);
}

CUresult cuStreamQuery(CUstream stream)
{
    BEGIN_IN_CONTEXT;
    END(resolve(stream)->first ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    (void)flags;
    BEGIN_IN_CONTEXT;
    Operation *operation = queue(stream, WAIT);
    operation->event = event;
    operation->generation = event->recorded;
    END(CUDA_SUCCESS);
}

CUresult cuCtxSynchronize(void)
{
    BEGIN_IN_CONTEXT;
    run_all();
    note("cuCtxSynchronize");
    END(CUDA_SUCCESS);
}

/* ---- events ----------------------------------------------------------------------------------------- */

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    (void)flags;
    BEGIN_IN_CONTEXT;
    *event = calloc(1, sizeof **event);
    live_events++;
    END(CUDA_SUCCESS);
}

CUresult cuEventDestroy_v2(CUevent event)
{
    BEGIN_IN_CONTEXT;
    if (event->reached < event->recorded)
        run_until(event->stream, NULL);
    free(event);
    live_events--;
    END(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    BEGIN_IN_CONTEXT;
    Operation *operation = queue(stream, RECORD);
    operation->event = event;
    operation->generation = ++event->recorded;
    event->stream = resolve(stream);
    note("cuEventRecord %p", (void *)event);
    END(CUDA_SUCCESS);
}

CUresult cuEventSynchronize(CUevent event)
{
    BEGIN_IN_CONTEXT;
    while (event->reached < event->recorded)
        run_until(event->stream, event->stream->first);
    note("cuEventSynchronize %p", (void *)event);
    END(CUDA_SUCCESS);
}

CUresult cuEventQuery(CUevent event)
{
    BEGIN_IN_CONTEXT;
    END(event->reached < event->recorded ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static unsigned long long total(MemoryKind kind, int bytes)
{
    unsigned long long sum = 0;
    for (const Memory *memory = memories; memory; memory = memory->next)
        if (memory->kind == kind)
            sum += bytes ? memory->bytes : 1;
    return sum;
}

static CUresult allocate(MemoryKind kind, void **pointer, size_t bytes)
{
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (kind == DEVICE_MEMORY && total(DEVICE_MEMORY, 1) + bytes > MEMORY)
        return CUDA_ERROR_OUT_OF_MEMORY;
    Memory *memory = calloc(1, sizeof *memory);
    memory->kind = kind;
    memory->bytes = bytes;
    if (posix_memalign((void **)&memory->start, 256, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    memset(memory->start, 0xCD, bytes); /* what was never written shows */
    memory->next = memories;
    memories = memory;
    *pointer = memory->start;
    return CUDA_SUCCESS;
}

static CUresult release(MemoryKind kind, const void *pointer)
{
    for (Memory **link = &memories; *link; link = &(*link)->next) {
        Memory *memory = *link;
        if (memory->start != pointer || memory->kind != kind)
            continue;
        check_pending(&null_stream, memory);
        for (CUstream stream = streams; stream; stream = stream->next)
            check_pending(stream, memory);
        run_all(); /* the driver waits too */
        *link = memory->next;
        free(memory->start);
        free(memory);
        return CUDA_SUCCESS;
    }
    hazards++;
    note("hazard: freed memory that is not allocated");
    return CUDA_ERROR_INVALID_VALUE;
}

static const Memory *find(CUdeviceptr pointer)
{
    for (const Memory *memory = memories; memory; memory = memory->next)
        if ((char *)pointer >= memory->start && (char *)pointer < memory->start + memory->bytes)
            return memory;
    return NULL;
}

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes)
{
    BEGIN_IN_CONTEXT;
    END(allocate(DEVICE_MEMORY, (void **)pointer, bytes));
}

CUresult cuMemFree_v2(CUdeviceptr pointer)
{
    BEGIN_IN_CONTEXT;
    END(release(DEVICE_MEMORY, (void *)pointer));
}

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    (void)flags;
    BEGIN_IN_CONTEXT;
    END(allocate(PINNED_MEMORY, pointer, bytes));
}

CUresult cuMemFreeHost(void *pointer)
{
    BEGIN_IN_CONTEXT;
    END(release(PINNED_MEMORY, pointer));
}

CUresult cuMemGetInfo_v2(size_t *available, size_t *all)
{
    BEGIN_IN_CONTEXT;
    *all = MEMORY;
    *available = MEMORY - total(DEVICE_MEMORY, 1);
    END(CUDA_SUCCESS);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
    BEGIN_IN_CONTEXT;
    run_until(&null_stream, NULL);
    memcpy((void *)to, from, bytes);
    END(CUDA_SUCCESS);
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
    BEGIN_IN_CONTEXT;
    run_until(&null_stream, NULL);
    memcpy(to, (void *)from, bytes);
    END(CUDA_SUCCESS);
}

static CUresult copy_async(char *to, const char *from, size_t bytes, CUstream stream)
{
    Operation *operation = queue(stream, COPY);
    operation->to = to;
    operation->from = from;
    operation->bytes = bytes;
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    BEGIN_IN_CONTEXT;
    const Memory *source = find((CUdeviceptr)from);
    const Memory *target = find(to);
    if (!source || source->kind != PINNED_MEMORY) {
        note("pageable source");
        END(CUDA_ERROR_INVALID_VALUE); /* the real one would quietly copy in step */
    }
    if (!target || target->kind != DEVICE_MEMORY || (char *)to + bytes > target->start + target->bytes)
        END(CUDA_ERROR_INVALID_VALUE);
    note("cuMemcpyHtoDAsync %zu on stream %u", bytes, resolve(stream)->id);
    END(copy_async((char *)to, from, bytes, stream));
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    BEGIN_IN_CONTEXT;
    END(copy_async((char *)to, (char *)from, bytes, stream));
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
    BEGIN;
    const Memory *memory = find(pointer);
    if (!memory)
        END(CUDA_ERROR_INVALID_VALUE);
    if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
        *(int *)data = 0;
    else if (attribute == CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
        *(unsigned *)data = memory->kind == DEVICE_MEMORY ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
    else
        END(CUDA_ERROR_NOT_SUPPORTED);
    END(CUDA_SUCCESS);
}

/* ---- kernels: the image must be PTX, the work is done by a function of the test's ------------------- */

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *options, void **values)
{
    BEGIN_IN_CONTEXT;
    for (unsigned i = 0; i < count; i++)
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = NULL; /* nothing was logged */
    if (!strstr(image, ".version") || !strstr(image, ".target"))
        END(CUDA_ERROR_INVALID_PTX);
    *module = calloc(1, sizeof **module);
    (*module)->image = strdup(image);
    live_modules++;
    END(CUDA_SUCCESS);
}

CUresult cuModuleUnload(CUmodule module)
{
    BEGIN_IN_CONTEXT;
    free(module->image);
    free(module);
    live_modules--;
    END(CUDA_SUCCESS);
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    BEGIN_IN_CONTEXT;
    char entry[128];
    snprintf(entry, sizeof entry, ".entry %s(", name);
    if (strstr(module->image, entry))
        for (int i = 0; i < kernel_count; i++)
            if (strcmp(kernels[i].name, name) == 0) {
                *function = &kernels[i];
                END(CUDA_SUCCESS);
            }
    END(CUDA_ERROR_NOT_FOUND);
}

CUresult cuFuncSetBlockShape(CUfunction function, int x, int y, int z)
{
    (void)function;
    BEGIN_IN_CONTEXT;
    END(x > 0 && y > 0 && z > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream stream, void **parameters, void **extra)
{
    (void)shared;
    (void)parameters;
    BEGIN_IN_CONTEXT;
    const void *arguments = NULL;
    size_t bytes = 0;
    for (; extra[0] != CU_LAUNCH_PARAM_END; extra += 2) {
        if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            arguments = extra[1];
        else
            bytes = *(size_t *)extra[1];
    }
    if (bytes > MAX_ARGUMENTS || bx * by * bz > 1024 || gx == 0)
        END(CUDA_ERROR_INVALID_VALUE);
    Operation *operation = queue(stream, KERNEL);
    operation->function = function;
    memcpy(operation->arguments, arguments, bytes);
    memcpy(operation->grid, (unsigned[]){gx, gy, gz}, sizeof operation->grid);
    memcpy(operation->block, (unsigned[]){bx, by, bz}, sizeof operation->block);
    note("cuLaunchKernel %s on stream %u", function->name, resolve(stream)->id);
    END(CUDA_SUCCESS);
}

/* ---- device and contexts ---------------------------------------------------------------------------- */

CUresult cuInit(unsigned flags)
{
    (void)flags;
    BEGIN;
    END(CUDA_SUCCESS);
}

CUresult cuDriverGetVersion(int *version)
{
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    BEGIN;
    *count = 1;
    END(CUDA_SUCCESS);
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    BEGIN;
    *device = ordinal;
    END(ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE);
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    (void)device;
    snprintf(name, length, "stand-in");
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    (void)device;
    BEGIN;
    *major = 8;
    *minor = 9;
    END(CUDA_SUCCESS);
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    (void)device;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 49152; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: *value = 65536; break;
    default: return standin_unsupported("cuDeviceGetAttribute");
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    (void)device;
    *bytes = MEMORY;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    (void)device;
    BEGIN;
    primary_retained++;
    *context = (CUcontext)&primary;
    END(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    (void)device;
    BEGIN;
    if (primary_retained == 0)
        END(CUDA_ERROR_INVALID_CONTEXT);
    if (--primary_retained == 0 && (memories || live_events || live_streams || live_modules)) {
        hazards++;
        note("hazard: the primary context goes while something of it is alive");
    }
    END(CUDA_SUCCESS);
}

CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    BEGIN;
    stack[depth++] = context;
    pushes++;
    END(CUDA_SUCCESS);
}

CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    BEGIN;
    if (depth == 0)
        END(CUDA_ERROR_INVALID_CONTEXT);
    depth--;
    if (context)
        *context = stack[depth];
    pops++;
    END(CUDA_SUCCESS);
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    BEGIN;
    *context = depth == 0 ? NULL : stack[depth - 1];
    END(CUDA_SUCCESS);
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    BEGIN_IN_CONTEXT;
    *device = 0;
    END(CUDA_SUCCESS);
}

/* NVRTC looks for a driver and asks this of it; without one, or with this answer, it works alike. */
CUresult cuGetExportTable(const void **table, const CUuuid *id)
{
    (void)id;
    *table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    switch (error) {
    case CUDA_ERROR_OUT_OF_MEMORY: *text = "out of memory"; break;
    case CUDA_ERROR_INVALID_CONTEXT: *text = "invalid device context"; break;
    case CUDA_ERROR_ILLEGAL_ADDRESS: *text = "an illegal memory access was encountered"; break;
    case CUDA_ERROR_NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
    case CUDA_ERROR_INVALID_PTX: *text = "a PTX JIT compilation failed"; break;
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION: *text = "the provided PTX was compiled with an unsupported toolchain."; break;
    default: *text = "stand-in error"; break;
    }
    return CUDA_SUCCESS;
}

/* ---- what tests use --------------------------------------------------------------------------------- */

/* Let calls `skip` + 1 … `skip` + `times` of `function` (the exported name, "cuMemAlloc_v2") return `code`. */
void standin_fail(const char *function, int skip, int times, int code)
{
    pthread_mutex_lock(&lock);
    snprintf(failures[failure_count].function, sizeof failures[0].function, "%s", function);
    failures[failure_count].skip = skip;
    failures[failure_count].times = times;
    failures[failure_count].code = code;
    failure_count++;
    pthread_mutex_unlock(&lock);
}

void standin_fail_no_more(void)
{
    pthread_mutex_lock(&lock);
    failure_count = 0;
    pthread_mutex_unlock(&lock);
}

void standin_kernel(const char *name, HostKernel run_on_host)
{
    pthread_mutex_lock(&lock);
    snprintf(kernels[kernel_count].name, sizeof kernels[0].name, "%s", name);
    kernels[kernel_count++].run = run_on_host;
    pthread_mutex_unlock(&lock);
}

/* Add a line of the test's own to the log of calls. */
void standin_mark(const char *line)
{
    pthread_mutex_lock(&lock);
    note("%s", line);
    pthread_mutex_unlock(&lock);
}

/* The log so far; the caller frees it with standin_free. */
char *standin_log(void)
{
    pthread_mutex_lock(&lock);
    char *copy = strdup(log_text ? log_text : "");
    pthread_mutex_unlock(&lock);
    return copy;
}

void standin_free(char *text)
{
    free(text);
}

long long standin_count(const char *what)
{
    pthread_mutex_lock(&lock);
    long long count = -1;
    if (!strcmp(what, "device allocations"))
        count = total(DEVICE_MEMORY, 0);
    else if (!strcmp(what, "device bytes"))
        count = total(DEVICE_MEMORY, 1);
    else if (!strcmp(what, "pinned allocations"))
        count = total(PINNED_MEMORY, 0);
    else if (!strcmp(what, "pinned bytes"))
        count = total(PINNED_MEMORY, 1);
    else if (!strcmp(what, "streams"))
        count = live_streams;
    else if (!strcmp(what, "events"))
        count = live_events;
    else if (!strcmp(what, "modules"))
        count = live_modules;
    else if (!strcmp(what, "primary context"))
        count = primary_retained;
    else if (!strcmp(what, "stack depth")) /* of the calling thread */
        count = depth;
    else if (!strcmp(what, "pushes minus pops")) /* of all threads */
        count = pushes - pops;
    else if (!strcmp(what, "hazards"))
        count = hazards;
    else if (!strcmp(what, "unsupported calls"))
        count = unsupported;
    pthread_mutex_unlock(&lock);
    return count;
}

/* Called by the generated stubs. */
int standin_unsupported(const char *function)
{
    pthread_mutex_lock(&lock);
    unsupported++;
    note("unsupported: %s", function);
    pthread_mutex_unlock(&lock);
    return CUDA_ERROR_NOT_SUPPORTED;
}
