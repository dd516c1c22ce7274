/* A library with the C interface of DLR, whose model has int8 tensors: one dense layer over a small picture.

   compiled.params holds two int32 (side N, outputs M) and N * N * 3 x M float32 weights. The model takes `data`, int8
   [1, N, N, 3], of which -128 is black, and gives int8 [1, M]: the weighted sums, rounded, within -128 to 127. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int32_t side, outputs;
    float *weights;
    int8_t *data, *sums;
} Model;

static const char *error = "";

static int fail(const char *what) {
    error = what;
    return -1;
}

const char *DLRGetLastError(void) { return error; }

int GetDLRVersion(const char **out) {
    *out = "1.10.0";
    return 0;
}

int GetDLRBackend(void **handle, const char **name) {
    (void)handle;
    *name = "tvm";
    return 0;
}

int DeleteDLRModel(void **handle) {
    Model *model = *handle;
    free(model->weights);
    free(model->data);
    free(model->sums);
    free(model);
    return 0;
}

int CreateDLRModel(void **handle, const char *folder, int device, int number) {
    char path[4096];
    snprintf(path, sizeof path, "%s/compiled.params", folder);
    FILE *file = fopen(path, "rb");
    if (!file || device != 1 || number != 0) return fail("there are no parameters, or no such device");
    Model *model = calloc(1, sizeof *model);
    if (fread(&model->side, 4, 1, file) != 1 || fread(&model->outputs, 4, 1, file) != 1) return fail("cut off");
    size_t inputs = (size_t)model->side * model->side * 3, count = inputs * model->outputs;
    model->weights = malloc(count * sizeof(float));
    model->data = calloc(inputs, 1);
    model->sums = calloc(model->outputs, 1);
    if (fread(model->weights, sizeof(float), count, file) != count) return fail("the parameters are cut off");
    fclose(file);
    *handle = model;
    return 0;
}

int GetDLRNumInputs(void **handle, int *count) {
    (void)handle;
    *count = 1;
    return 0;
}

int GetDLRNumOutputs(void **handle, int *count) {
    (void)handle;
    *count = 1;
    return 0;
}

int GetDLRInputName(void **handle, int index, const char **name) {
    (void)handle;
    (void)index;
    *name = "data";
    return 0;
}

int GetDLRInputType(void **handle, int index, const char **type) {
    (void)handle;
    (void)index;
    *type = "int8";
    return 0;
}

int GetDLRInputSizeDim(void **handle, int index, int64_t *size, int *dimensions) {
    Model *model = *handle;
    (void)index;
    *size = (int64_t)model->side * model->side * 3;
    *dimensions = 4;
    return 0;
}

int GetDLRInputShape(void **handle, int index, int64_t *shape) {
    Model *model = *handle;
    (void)index;
    shape[0] = 1;
    shape[1] = shape[2] = model->side;
    shape[3] = 3;
    return 0;
}

int GetDLROutputType(void **handle, int index, const char **type) { return GetDLRInputType(handle, index, type); }

int GetDLROutputSizeDim(void **handle, int index, int64_t *size, int *dimensions) {
    Model *model = *handle;
    (void)index;
    *size = model->outputs;
    *dimensions = 2;
    return 0;
}

int GetDLROutputShape(void **handle, int index, int64_t *shape) {
    Model *model = *handle;
    (void)index;
    shape[0] = 1;
    shape[1] = model->outputs;
    return 0;
}

int SetDLRInput(void **handle, const char *name, const int64_t *shape, const void *input, int dimensions) {
    Model *model = *handle;
    if (strcmp(name, "data") || dimensions != 4 || shape[1] != model->side) return fail("no such input of this shape");
    memcpy(model->data, input, (size_t)model->side * model->side * 3);
    return 0;
}

int RunDLRModel(void **handle) {
    Model *model = *handle;
    int inputs = model->side * model->side * 3;
    for (int to = 0; to < model->outputs; to++) {
        float sum = 0;
        for (int from = 0; from < inputs; from++)
            sum += (model->data[from] + 128) * model->weights[from * model->outputs + to];
        sum = roundf(sum);
        model->sums[to] = sum > 127 ? 127 : sum < -128 ? -128 : sum;
    }
    return 0;
}

int GetDLROutput(void **handle, int index, void *out) {
    Model *model = *handle;
    (void)index;
    memcpy(out, model->sums, model->outputs);
    return 0;
}
