/* A library with the C interface of DLR, small but real: one dense layer whose weights it reads from the model's folder.

   compiled.params holds "DNSE", two int32 (inputs N, outputs M), N x M float32 weights. The model takes `data`, uint8
   [-1, N], and `bias`, float32 [M]; it gives float32 [1, M], their weighted sum, and int64 [1], the largest one's index.
   N above 4096 makes it do what a library does that trusts a damaged file: it writes where it has no memory. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int32_t inputs, outputs;
    int threads;
    float *weights, *bias, *sums;
    uint8_t *data;
    int64_t best;
} Model;

static char error[400];

static int fail(const char *what, const char *which) {
    snprintf(error, sizeof error, "%s\n(%s)", what, which);
    return -1;
}

const char *DLRGetLastError(void) { return error; }

int GetDLRVersion(const char **out) {
    *out = "1.10.0";
    return 0;
}

int GetDLRDeviceType(const char *path) {
    (void)path;
    return getenv("TVM_TEST_DEVICE") ? atoi(getenv("TVM_TEST_DEVICE")) : -1;
}

int GetDLRBackend(void **handle, const char **name) {
    (void)handle;
    *name = "tvm";
    return 0;
}

int DeleteDLRModel(void **handle) {
    Model *model = *handle;
    if (getenv("TVM_TEST_DELETED")) {
        FILE *told = fopen(getenv("TVM_TEST_DELETED"), "a");
        fputs("deleted\n", told);
        fclose(told);
    }
    free(model->weights);
    free(model->bias);
    free(model->sums);
    free(model->data);
    free(model);
    return 0;
}

int CreateDLRModel(void **handle, const char *folder, int device, int number) {
    char path[4096], magic[4];
    snprintf(path, sizeof path, "%s/compiled.params", folder);
    if (device != 1 || number != 0) return fail("the device is not there", path);
    FILE *file = fopen(path, "rb");
    if (!file) return fail("there are no parameters", path);
    Model *model = calloc(1, sizeof *model);
    if (fread(magic, 4, 1, file) != 1 || memcmp(magic, "DNSE", 4)) return fail("these are no parameters", path);
    if (fread(&model->inputs, 4, 1, file) != 1 || fread(&model->outputs, 4, 1, file) != 1) return fail("cut off", path);
    if (model->inputs > 4096) *(volatile int *)8 = 1;
    size_t count = (size_t)model->inputs * model->outputs;
    model->weights = malloc(count * sizeof(float));
    model->bias = calloc(model->outputs, sizeof(float));
    model->sums = calloc(model->outputs, sizeof(float));
    model->data = calloc(model->inputs, 1);
    if (fread(model->weights, sizeof(float), count, file) != count) return fail("the parameters are cut off", path);
    fclose(file);
    *handle = model;
    return 0;
}

int SetDLRNumThreads(void **handle, int threads) {
    ((Model *)*handle)->threads = threads;
    return 0;
}

int GetDLRNumInputs(void **handle, int *count) {
    (void)handle;
    *count = 2;
    return 0;
}

int GetDLRNumOutputs(void **handle, int *count) {
    (void)handle;
    *count = 2;
    return 0;
}

int GetDLRInputName(void **handle, int index, const char **name) {
    (void)handle;
    *name = index ? "bias" : "data";
    return 0;
}

int GetDLRInputType(void **handle, int index, const char **type) {
    (void)handle;
    *type = index ? "float32" : "uint8";
    return 0;
}

int GetDLRInputSizeDim(void **handle, int index, int64_t *size, int *dimensions) {
    Model *model = *handle;
    *size = index ? model->outputs : model->inputs;
    *dimensions = index ? 1 : 2;
    return 0;
}

int GetDLRInputShape(void **handle, int index, int64_t *shape) {
    Model *model = *handle;
    if (index) {
        shape[0] = model->outputs;
    } else {
        shape[0] = -1;
        shape[1] = model->inputs;
    }
    return 0;
}

int GetDLROutputName(void **handle, const int index, const char **name) {
    (void)handle;
    (void)name;
    return index ? fail("no metadata", "second output") : (*name = "sums", 0);
}

int GetDLROutputType(void **handle, int index, const char **type) {
    (void)handle;
    *type = index ? "int64" : "float32";
    return 0;
}

int GetDLROutputSizeDim(void **handle, int index, int64_t *size, int *dimensions) {
    Model *model = *handle;
    *size = index ? 1 : model->outputs;
    *dimensions = index ? 1 : 2;
    return 0;
}

int GetDLROutputShape(void **handle, int index, int64_t *shape) {
    Model *model = *handle;
    shape[0] = 1;
    if (!index) shape[1] = model->outputs;
    return 0;
}

int SetDLRInput(void **handle, const char *name, const int64_t *shape, const void *input, int dimensions) {
    Model *model = *handle;
    if (!strcmp(name, "bias") && dimensions == 1 && shape[0] == model->outputs)
        memcpy(model->bias, input, model->outputs * sizeof(float));
    else if (!strcmp(name, "data") && dimensions == 2 && shape[0] == 1 && shape[1] == model->inputs)
        memcpy(model->data, input, model->inputs);
    else
        return fail("no such input of this shape", name);
    return 0;
}

int RunDLRModel(void **handle) {
    Model *model = *handle;
    if (model->data[0] == 255) return fail("the device is gone", "first byte is 255");
    model->best = 0;
    for (int to = 0; to < model->outputs; to++) {
        model->sums[to] = model->bias[to];
        for (int from = 0; from < model->inputs; from++)
            model->sums[to] += model->data[from] * model->weights[from * model->outputs + to];
        if (model->sums[to] > model->sums[model->best]) model->best = to;
    }
    return 0;
}

int GetDLROutput(void **handle, int index, void *out) {
    Model *model = *handle;
    if (index)
        memcpy(out, &model->best, sizeof model->best);
    else
        memcpy(out, model->sums, model->outputs * sizeof(float));
    return 0;
}
