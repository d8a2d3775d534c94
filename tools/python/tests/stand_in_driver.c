// A driver of a GPU whose memory is that of the host, for tests on machines without one: what the package calls of libcuda.so.1.
//
// What is put on any stream happens in the order in which it was put there, on a thread of its own and some time later. A copy from page-locked
// memory reads it when it happens, so that memory that was given back too early shows as wrong values.
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int result;
enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_DEVICE = 101 };

struct event {
    unsigned long recorded, occurred;
};

struct op {
    struct op *next;
    void *to;
    const void *from;
    void *staged;
    size_t n_bytes;
    struct event *event;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct op *first, **last = &first;
static long n_pending, n_registered, n_allocations, n_handles, n_copies;
static int is_started;

struct range {
    const char *start;
    size_t n_bytes;
};
static struct range registered[1 << 16];

static void *work(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!first) pthread_cond_wait(&changed, &lock);
        struct op *op = first;
        pthread_mutex_unlock(&lock);
        usleep(200);
        if (op->n_bytes) memcpy(op->to, op->staged ? op->staged : op->from, op->n_bytes);
        pthread_mutex_lock(&lock);
        if (op->event) op->event->occurred++;
        first = op->next;
        if (!first) last = &first;
        n_pending--;
        free(op->staged);
        free(op);
        pthread_cond_broadcast(&changed);
    }
    return NULL;
}

static void put(struct op op) {
    struct op *made = malloc(sizeof *made);
    *made = op;
    made->next = NULL;
    if (!is_started) {
        pthread_t thread;
        is_started = !pthread_create(&thread, NULL, work, NULL);
    }
    *last = made;
    last = &made->next;
    n_pending++;
    pthread_cond_broadcast(&changed);
}

static result drain(void) {
    pthread_mutex_lock(&lock);
    while (n_pending) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

// What is there at this moment: page-locked ranges, allocations, streams and events, and what has not happened; and copies ever made.
void stand_in_counts(long *counts) {
    pthread_mutex_lock(&lock);
    counts[0] = n_registered, counts[1] = n_allocations, counts[2] = n_handles, counts[3] = n_pending, counts[4] = n_copies;
    pthread_mutex_unlock(&lock);
}

result cuInit(unsigned flags) { return flags ? INVALID_VALUE : SUCCESS; }

result cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}

result cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    strncpy(name, "stand-in", length);
    return SUCCESS;
}

result cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = &lock;
    return SUCCESS;
}

result cuDevicePrimaryCtxRelease_v2(int device) { return device ? INVALID_DEVICE : SUCCESS; }
result cuCtxPushCurrent_v2(void *context) { return context == &lock ? SUCCESS : INVALID_VALUE; }

result cuCtxPopCurrent_v2(void **context) {
    *context = &lock;
    return SUCCESS;
}

result cuMemHostRegister_v2(void *start, size_t n_bytes, unsigned flags) {
    (void)flags;
    result found = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (size_t k = 0; k < sizeof registered / sizeof *registered; k++) {
        if (!registered[k].start) {
            registered[k] = (struct range){start, n_bytes};
            n_registered++;
            found = SUCCESS;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

result cuMemHostUnregister(void *start) {
    result found = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (size_t k = 0; k < sizeof registered / sizeof *registered; k++) {
        if (registered[k].start == start) {
            registered[k].start = NULL;
            n_registered--;
            found = SUCCESS;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

result cuMemAlloc_v2(uint64_t *address, size_t n_bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 256, n_bytes)) return 2;
    memset(memory, 0xdd, n_bytes);
    *address = (uint64_t)(uintptr_t)memory;
    pthread_mutex_lock(&lock);
    n_allocations++;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

result cuMemFree_v2(uint64_t address) {
    drain();
    free((void *)(uintptr_t)address);
    pthread_mutex_lock(&lock);
    n_allocations--;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

static result handle(void **made) {
    *made = calloc(1, sizeof(struct event));
    pthread_mutex_lock(&lock);
    n_handles++;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

static result end(void *handle) {
    // A record that has not happened yet would come back to it.
    drain();
    free(handle);
    pthread_mutex_lock(&lock);
    n_handles--;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

result cuStreamCreate(void **stream, unsigned flags) {
    (void)flags;
    return handle(stream);
}

result cuStreamDestroy_v2(void *stream) { return end(stream); }

result cuStreamSynchronize(void *stream) {
    (void)stream;
    return drain();
}

result cuStreamWaitEvent(void *stream, struct event *event, unsigned flags) {
    (void)stream, (void)event;
    // There is one order, in which the event comes first.
    return flags ? INVALID_VALUE : SUCCESS;
}

result cuEventCreate(void **event, unsigned flags) {
    (void)flags;
    return handle(event);
}

result cuEventDestroy_v2(void *event) { return end(event); }

result cuEventRecord(struct event *event, void *stream) {
    (void)stream;
    pthread_mutex_lock(&lock);
    event->recorded++;
    put((struct op){.event = event});
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

result cuEventSynchronize(struct event *event) {
    pthread_mutex_lock(&lock);
    unsigned long recorded = event->recorded;
    while (event->occurred < recorded) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

result cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    (void)from, (void)to;
    *milliseconds = 1;
    return SUCCESS;
}

result cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n_bytes, void *stream) {
    (void)stream;
    struct op op = {.to = (void *)(uintptr_t)to, .from = from, .n_bytes = n_bytes};
    int is_registered = 0;
    pthread_mutex_lock(&lock);
    for (size_t k = 0; k < sizeof registered / sizeof *registered && !is_registered; k++) {
        const char *start = registered[k].start, *begin = from;
        is_registered = start && begin >= start && begin + n_bytes <= start + registered[k].n_bytes;
    }
    if (!is_registered) op.staged = memcpy(malloc(n_bytes), from, n_bytes);
    n_copies++;
    put(op);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

result cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n_bytes, void *stream) {
    (void)stream;
    pthread_mutex_lock(&lock);
    put((struct op){.to = to, .from = (const void *)(uintptr_t)from, .n_bytes = n_bytes});
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}
