/* An external delegate for TensorFlow Lite, small but real: it takes QUANTIZE nodes and computes them.

   The structures are those of tensorflow/lite/core/c/common.h, as far as they are used, in their places.
   Options: claim=N takes at most N nodes; log=PATH appends each option to a file; say=TEXT prints it; fail=create,
   prepare or crash. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UINT8 = 3, INT8 = 9, QUANTIZE = 114 };

typedef struct { int size, data[]; } Ints;
typedef struct {
    int type;
    void *data;
    Ints *dims;
    float scale;
    int32_t zero_point;
    int allocation;
    size_t bytes;
    char rest[64];
} Tensor;
typedef struct { Ints *inputs, *outputs, *intermediates, *temporaries; void *user_data; } Node;
typedef struct Context Context;
typedef struct Delegate Delegate;
typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *external;
    void *async_kernel;
    uint64_t inplace;
} Registration;
struct Context {
    size_t tensors_size;
    int (*execution_plan)(Context *, Ints **);
    Tensor *tensors;
    void *impl;
    int (*resize_tensor)(Context *, Tensor *, Ints *);
    void (*report_error)(Context *, const char *, ...);
    int (*add_tensors)(Context *, int, int *);
    int (*node_and_registration)(Context *, int, Node **, Registration **);
    int (*replace)(Context *, Registration, const Ints *, Delegate *);
};
struct Delegate {
    void *data;
    int (*prepare)(Context *, Delegate *);
    void *copy_from, *copy_to, *free_buffer;
    int64_t flags;
    void *opaque;
    int claim;
    char fail[16];
};
typedef struct { Delegate *delegate; Ints *nodes, *inputs, *outputs; } Partition;
typedef struct { int count, from[64], to[64]; } Kernel;

static void *init(Context *context, const char *buffer, size_t length) {
    (void)length;
    const Partition *part = (const Partition *)buffer;
    Kernel *kernel = calloc(1, sizeof *kernel);
    for (int i = 0; i < part->nodes->size; i++) {
        Node *node;
        Registration *registration;
        if (context->node_and_registration(context, part->nodes->data[i], &node, &registration)) return kernel;
        kernel->from[kernel->count] = node->inputs->data[0];
        kernel->to[kernel->count++] = node->outputs->data[0];
    }
    return kernel;
}

static void release(Context *context, void *kernel) {
    (void)context;
    free(kernel);
}

static int prepare_kernel(Context *context, Node *node) {
    (void)context;
    (void)node;
    return 0;
}

static int invoke(Context *context, Node *node) {
    const Kernel *kernel = node->user_data;
    for (int i = 0; i < kernel->count; i++) {
        const Tensor *from = &context->tensors[kernel->from[i]], *to = &context->tensors[kernel->to[i]];
        for (size_t k = 0; k < to->bytes; k++) {
            int value = from->type == UINT8 ? ((uint8_t *)from->data)[k] : ((int8_t *)from->data)[k];
            int low = to->type == UINT8 ? 0 : -128;
            int made = (int)roundf((value - from->zero_point) * from->scale / to->scale) + to->zero_point;
            made = made < low ? low : made > low + 255 ? low + 255 : made;
            ((uint8_t *)to->data)[k] = (uint8_t)made;
        }
    }
    return 0;
}

static int prepare(Context *context, Delegate *delegate) {
    if (!strcmp(delegate->fail, "prepare")) {
        context->report_error(context, "the device does not answer");
        return 1;
    }
    if (!strcmp(delegate->fail, "crash")) abort();
    Ints *plan;
    if (context->execution_plan(context, &plan)) return 1;
    Ints *taken = calloc(1, sizeof(Ints) + plan->size * sizeof(int));
    for (int i = 0; i < plan->size && taken->size < delegate->claim; i++) {
        Node *node;
        Registration *registration;
        if (context->node_and_registration(context, plan->data[i], &node, &registration)) return 1;
        if (registration->builtin_code == QUANTIZE) taken->data[taken->size++] = plan->data[i];
    }
    Registration kernel = {init, release, prepare_kernel, invoke, 0, 0, "TestDelegate", 1, 0, 0, 0};
    int status = taken->size ? context->replace(context, kernel, taken, delegate) : 0;
    free(taken);
    return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    Delegate *delegate = calloc(1, sizeof *delegate);
    delegate->prepare = prepare;
    delegate->claim = 64;
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(keys[i], "claim")) delegate->claim = atoi(values[i]);
        if (!strcmp(keys[i], "fail")) snprintf(delegate->fail, sizeof delegate->fail, "%s", values[i]);
        if (!strcmp(keys[i], "say")) {
            puts(values[i]);
            fflush(stdout);
        }
        if (!strcmp(keys[i], "log")) {
            const char *cache = getenv("VIV_VX_CACHE_BINARY_GRAPH_DIR"), *on = getenv("VIV_VX_ENABLE_CACHE_GRAPH_BINARY");
            FILE *log = fopen(values[i], "a");
            for (size_t k = 0; k < count; k++) fprintf(log, "%s=%s\n", keys[k], values[k]);
            fprintf(log, "cache %s %s\n", on ? on : "off", cache ? cache : "nowhere");
            fclose(log);
        }
    }
    if (!strcmp(delegate->fail, "create")) {
        report("there is no such device");
        free(delegate);
        return NULL;
    }
    return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
