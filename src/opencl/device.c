/* SPDX-License-Identifier: Apache-2.0 */
/* OpenCL devices: finding, choosing, describing and opening them. */
#include "opencl/device.h"

#include "core/error.h"
#include "lathe_launch.h"
#include "opencl/release.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a machine, and of one platform; more are not looked at. */
enum { MAX_PLATFORMS = 32, MAX_DEVICES = 64 };

/* The dimensions of a work-item's index; devices have three. */
enum { MAX_DIMENSIONS = 16 };

enum { LEAST_GROUP = 64 };

/* What the full profile of OpenCL 1.2 has: a block of floats, and room to fold them. */
#define LEAST_LOCAL_BYTES ((cl_ulong)32 << 10)

/* Returns whether to go on. */
typedef bool visit_fn(void *ctx, const lt_cl_found *found);

/* *index is that of the platform's first device, and becomes that of the next platform's. */
static bool visit_platform(cl_platform_id platform, size_t *index, visit_fn *visit, void *ctx) {
    cl_device_id ids[MAX_DEVICES];
    cl_uint n_ids = 0;
    if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n_ids) != CL_SUCCESS) {
        return true;
    }
    for (cl_uint i = 0; i < n_ids && i < MAX_DEVICES; i++) {
        cl_device_type type = 0;
        if (clGetDeviceInfo(ids[i], CL_DEVICE_TYPE, sizeof type, &type, NULL) != CL_SUCCESS) {
            continue;
        }
        const lt_cl_found found = {.platform = platform, .id = ids[i], .index = *index};
        (*index)++;
        if (!visit(ctx, &found)) {
            return false;
        }
    }
    return true;
}

static void visit_devices(visit_fn *visit, void *ctx) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n_platforms = 0;
    size_t index = 0;
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms) != CL_SUCCESS) {
        return;
    }
    for (cl_uint i = 0; i < n_platforms && i < MAX_PLATFORMS; i++) {
        if (!visit_platform(platforms[i], &index, visit, ctx)) {
            return;
        }
    }
}

static bool count_device(void *ctx, const lt_cl_found *found) {
    size_t *count = ctx;
    *count = found->index + 1;
    return true;
}

size_t lt_cl_device_count(void) {
    size_t count = 0;
    visit_devices(count_device, &count);
    return count;
}

/* Copies a driver's text, cut to fit, without the blanks around it; what is not printable ASCII
 * becomes '?', as it may go to a terminal or into JSON. */
static void copy_text(const char *from, char *to, size_t room) {
    while (*from == ' ') {
        from++;
    }
    size_t length = strlen(from);
    length = length < room ? length : room - 1;
    while (length > 0 && from[length - 1] == ' ') {
        length--;
    }
    for (size_t i = 0; i < length; i++) {
        to[i] = from[i] >= 0x20 && from[i] < 0x7f ? from[i] : '?';
    }
    to[length] = '\0';
}

static void device_text(cl_device_id id, cl_device_info what, char *text, size_t room) {
    char full[1024] = "";
    bool ok = clGetDeviceInfo(id, what, sizeof full - 1, full, NULL) == CL_SUCCESS;
    copy_text(ok ? full : "", text, room);
}

static void platform_name(cl_platform_id platform, char *text, size_t room) {
    char full[1024] = "";
    bool ok =
        clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof full - 1, full, NULL) == CL_SUCCESS;
    copy_text(ok ? full : "", text, room);
}

static cl_ulong device_ulong(cl_device_id id, cl_device_info what) {
    cl_ulong value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static cl_uint device_uint(cl_device_id id, cl_device_info what) {
    cl_uint value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static cl_device_type type_of(cl_device_id id) {
    cl_device_type type = 0;
    return clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL) == CL_SUCCESS ? type : 0;
}

static const char *kind_of(cl_device_type type) {
    if ((type & CL_DEVICE_TYPE_GPU) != 0) {
        return "gpu";
    }
    return (type & CL_DEVICE_TYPE_CPU) != 0 ? "cpu" : "accelerator";
}

void lt_cl_device_describe(const lt_cl_found *found, lathe_device_info *info) {
    cl_device_id id = found->id;
    const lathe_device_info described = {
        .struct_size = info->struct_size,
        .isa = LATHE_ISA_AUTO,
        .threads = device_uint(id, CL_DEVICE_MAX_COMPUTE_UNITS),
        .memory_bytes = device_ulong(id, CL_DEVICE_GLOBAL_MEM_SIZE),
        .max_alloc_bytes = device_ulong(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE),
        .shares_host_memory = device_uint(id, CL_DEVICE_HOST_UNIFIED_MEMORY) != 0,
        .self_check = info->self_check,
    };
    *info = described;
    if (found->index == LT_CL_NO_INDEX) {
        (void)snprintf(info->selector, sizeof info->selector, "opencl");
    } else {
        /* MAX_PLATFORMS * MAX_DEVICES of them: five digits */
        (void)snprintf(info->selector, sizeof info->selector, "opencl:%u",
                       (unsigned)(uint16_t)found->index);
    }
    (void)snprintf(info->kind, sizeof info->kind, "%s", kind_of(type_of(id)));
    device_text(id, CL_DEVICE_NAME, info->name, sizeof info->name);
    device_text(id, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
    platform_name(found->platform, info->platform, sizeof info->platform);
}

typedef struct traits {
    cl_bool is_available;
    cl_bool has_compiler;
    cl_bool is_little_endian;
    char c_version[256]; /* "OpenCL C 1.2 ..." */
    cl_device_fp_config floats;
    cl_ulong local_bytes;
    size_t max_group;
    size_t max_items[MAX_DIMENSIONS];
    cl_uint align_bits;
    cl_ulong max_alloc_bytes;
    cl_device_type type;
    cl_bool shares_memory;
} traits;

static cl_int read_traits(cl_device_id id, traits *t) {
    *t = (traits){0};
    const struct {
        cl_device_info what;
        size_t n_bytes;
        void *value;
    } queries[] = {
        {CL_DEVICE_AVAILABLE, sizeof t->is_available, &t->is_available},
        {CL_DEVICE_COMPILER_AVAILABLE, sizeof t->has_compiler, &t->has_compiler},
        {CL_DEVICE_ENDIAN_LITTLE, sizeof t->is_little_endian, &t->is_little_endian},
        {CL_DEVICE_OPENCL_C_VERSION, sizeof t->c_version - 1, t->c_version},
        {CL_DEVICE_SINGLE_FP_CONFIG, sizeof t->floats, &t->floats},
        {CL_DEVICE_LOCAL_MEM_SIZE, sizeof t->local_bytes, &t->local_bytes},
        {CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof t->max_group, &t->max_group},
        {CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof t->max_items, t->max_items},
        {CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof t->align_bits, &t->align_bits},
        {CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof t->max_alloc_bytes, &t->max_alloc_bytes},
        {CL_DEVICE_TYPE, sizeof t->type, &t->type},
        {CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof t->shares_memory, &t->shares_memory},
    };
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        cl_int error =
            clGetDeviceInfo(id, queries[i].what, queries[i].n_bytes, queries[i].value, NULL);
        if (error != CL_SUCCESS) {
            return error;
        }
    }
    return CL_SUCCESS;
}

/* The largest power of two that is no more than what was asked for and what the device can. */
static uint32_t group_size_of(const traits *t) {
    size_t most = t->max_group < t->max_items[0] ? t->max_group : t->max_items[0];
    uint32_t size = LATHE_CL_GROUP;
    while (size > most && size > 1) {
        size /= 2;
    }
    return size;
}

/* Local memory that kernels take, at most, where a device is not small. */
enum { LOCAL_BYTES = 48 * 1024 };

static bool is_small(const traits *t) {
    return t->max_group < LATHE_CL_ROW_MANY || t->max_items[0] < LATHE_CL_ROW_MANY ||
           t->local_bytes < LOCAL_BYTES;
}

static bool has_opencl_c_12(const char *version) {
    static const char prefix[] = "OpenCL C ";
    if (strncmp(version, prefix, sizeof prefix - 1) != 0) {
        return false;
    }
    char *end = NULL;
    unsigned long major = strtoul(version + sizeof prefix - 1, &end, 10);
    unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return major > 1 || (major == 1 && minor >= 2);
}

/* cl_nv_device_attribute_query's CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV, which other devices do not
 * answer. */
enum { NVIDIA_MAJOR = 0x4000 };

/* False, too, where nothing is known. */
static bool has_capability(cl_device_id id, cl_uint least, cl_uint most) {
    cl_uint major = 0;
    return clGetDeviceInfo(id, NVIDIA_MAJOR, sizeof major, &major, NULL) == CL_SUCCESS &&
           major >= least && major <= most;
}

static bool lacks_doubles(cl_device_id id) {
    cl_device_fp_config config = 0;
    return clGetDeviceInfo(id, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof config, &config, NULL) !=
               CL_SUCCESS ||
           (config & CL_FP_ROUND_TO_NEAREST) == 0;
}

/* What keeps the kernels from running there; NULL: nothing. */
static const char *lack_of(const traits *t) {
    /* Whether subnormals are kept is left to the self-check: not every driver that keeps them says
     * so. */
    const cl_device_fp_config needed = CL_FP_INF_NAN | CL_FP_ROUND_TO_NEAREST;
    if (!t->is_available) {
        return "is not available";
    }
    if (!t->has_compiler) {
        return "has no compiler";
    }
    if (!t->is_little_endian) {
        return "is big-endian";
    }
    if (!has_opencl_c_12(t->c_version)) {
        return "has no OpenCL C 1.2";
    }
    if ((t->floats & needed) != needed) {
        return "does not round floats to nearest";
    }
    if (t->local_bytes < LEAST_LOCAL_BYTES) {
        return "has less than 32 KiB of local memory";
    }
    if (group_size_of(t) < LEAST_GROUP) {
        return "cannot run 64 work-items as a group";
    }
    return NULL;
}

static bool is_usable(cl_device_id id) {
    traits t;
    return read_traits(id, &t) == CL_SUCCESS && lack_of(&t) == NULL;
}

typedef struct search {
    size_t index;        /* LT_CL_NO_INDEX: any */
    cl_device_id id;     /* NULL: any */
    cl_device_type type; /* 0: any */
    const char *text;    /* NULL: any */
    bool by_type;        /* a GPU rather than an accelerator rather than anything else */
    unsigned best_rank;  /* less is better */
    bool is_found;
    lt_cl_found best;
} search;

static bool has_text(const lt_cl_found *found, const char *text) {
    lathe_device_info info;
    device_text(found->id, CL_DEVICE_NAME, info.name, sizeof info.name);
    platform_name(found->platform, info.platform, sizeof info.platform);
    return strcasestr(info.name, text) != NULL || strcasestr(info.platform, text) != NULL;
}

static bool matches(const search *s, const lt_cl_found *found) {
    return (s->index == LT_CL_NO_INDEX || s->index == found->index) &&
           (s->id == NULL || s->id == found->id) &&
           (s->type == 0 || (s->type & type_of(found->id)) != 0) &&
           (s->text == NULL || has_text(found, s->text));
}

static unsigned rank_of(const search *s, const lt_cl_found *found) {
    enum { NOT_USABLE = 3 };
    unsigned rank = 0;
    if (s->by_type) {
        cl_device_type type = type_of(found->id);
        rank = (type & CL_DEVICE_TYPE_GPU) != 0 ? 0 : (type & CL_DEVICE_TYPE_ACCELERATOR) ? 1 : 2;
    }
    return is_usable(found->id) ? rank : rank + NOT_USABLE;
}

/* Of several that match, one that can run the kernels, and then the first one. */
static bool consider(void *ctx, const lt_cl_found *found) {
    search *s = ctx;
    if (!matches(s, found)) {
        return true;
    }
    unsigned rank = rank_of(s, found);
    if (!s->is_found || rank < s->best_rank) {
        s->is_found = true;
        s->best_rank = rank;
        s->best = *found;
    }
    return rank != 0;
}

static bool run_search(search *s, lt_cl_found *found) {
    visit_devices(consider, s);
    if (s->is_found) {
        *found = s->best;
    }
    return s->is_found;
}

/* Of what follows ':'. */
static search search_of(const char *text) {
    search s = {.index = LT_CL_NO_INDEX};
    if (strcmp(text, "gpu") == 0) {
        s.type = CL_DEVICE_TYPE_GPU;
    } else if (strcmp(text, "cpu") == 0) {
        s.type = CL_DEVICE_TYPE_CPU;
    } else if (strcmp(text, "accelerator") == 0) {
        s.type = CL_DEVICE_TYPE_ACCELERATOR;
    } else if (text[strspn(text, "0123456789")] == '\0') {
        unsigned long long number = strtoull(text, NULL, 10);
        s.index = number < LT_CL_NO_INDEX ? (size_t)number : LT_CL_NO_INDEX - 1;
    } else {
        s.text = text;
    }
    return s;
}

/* The devices as a text that fits in a message. */
typedef struct device_list {
    char text[320];
    size_t length;
} device_list;

static bool list_device(void *ctx, const lt_cl_found *found) {
    device_list *list = ctx;
    lathe_device_info info = {0};
    lt_cl_device_describe(found, &info);
    size_t room = sizeof list->text - list->length;
    int n = snprintf(list->text + list->length, room, "%s%s (%s, %.60s)",
                     list->length == 0 ? "" : ", ", info.selector, info.kind, info.name);
    if (n < 0 || (size_t)n >= room) {
        list->text[list->length] = '\0'; /* whole entries only */
        return false;
    }
    list->length += (size_t)n;
    return true;
}

/* Fails with NOT_FOUND and what there is instead. */
static lathe_status fail_selection(const char *selector) {
    device_list list = {.length = 0};
    visit_devices(list_device, &list);
    if (list.length == 0) {
        return lt_fail(LATHE_NOT_FOUND, "device \"opencl%.80s\": there is no OpenCL device",
                       selector);
    }
    return lt_fail(LATHE_NOT_FOUND, "device \"opencl%.80s\": there is none such; there is %s",
                   selector, list.text);
}

lathe_status lt_cl_device_select(const char *selector, lt_cl_found *found) {
    search s = {.index = LT_CL_NO_INDEX, .by_type = true};
    if (selector[0] != '\0') {
        if (selector[0] != ':' || selector[1] == '\0') {
            return fail_selection(selector);
        }
        s = search_of(selector + 1);
    }
    return run_search(&s, found) ? LATHE_OK : fail_selection(selector);
}

lathe_status lt_cl_device_find(size_t index, lt_cl_found *found) {
    search s = {.index = index};
    if (index != LT_CL_NO_INDEX && run_search(&s, found)) {
        return LATHE_OK;
    }
    return lt_fail(LATHE_NOT_FOUND, "there is no OpenCL device %zu", index);
}

lathe_status lt_cl_device_of(cl_device_id id, lt_cl_found *found) {
    search s = {.index = LT_CL_NO_INDEX, .id = id};
    if (run_search(&s, found)) {
        return LATHE_OK;
    }
    lt_cl_found part = {.id = id, .index = LT_CL_NO_INDEX};
    cl_int error =
        clGetDeviceInfo(id, CL_DEVICE_PLATFORM, sizeof part.platform, &part.platform, NULL);
    if (error != CL_SUCCESS) {
        return lt_cl_fail(NULL, "clGetDeviceInfo", error);
    }
    *found = part;
    return LATHE_OK;
}

/* Takes a reference of the caller's context, of which the device must be a part. */
static lathe_status adopt_context(lt_cl_device *device, cl_context context) {
    cl_device_id ids[MAX_DEVICES];
    size_t n_bytes = 0;
    cl_int error = clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof ids, ids, &n_bytes);
    if (error != CL_SUCCESS) {
        return lt_cl_fail(device, "clGetContextInfo", error);
    }
    size_t i = 0;
    while (i < n_bytes / sizeof ids[0] && ids[i] != device->id) {
        i++;
    }
    if (i == n_bytes / sizeof ids[0]) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the OpenCL context is not one of the device %s",
                       device->info.name);
    }
    error = clRetainContext(context);
    if (error != CL_SUCCESS) {
        return lt_cl_fail(device, "clRetainContext", error);
    }
    device->context = context;
    return LATHE_OK;
}

static lathe_status create_context(lt_cl_device *device) {
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                                (cl_context_properties)device->platform, 0};
    cl_int error = CL_SUCCESS;
    device->context = clCreateContext(properties, 1, &device->id, NULL, NULL, &error);
    if (device->context != NULL && error == CL_SUCCESS) {
        return LATHE_OK;
    }
    device->context = NULL;
    return lt_cl_fail(device, "clCreateContext", error);
}

lathe_status lt_cl_device_open(const lt_cl_found *found, cl_context context, lt_cl_device *device) {
    lt_cl_device opened = {.platform = found->platform, .id = found->id};
    traits t;
    lt_cl_device_describe(found, &opened.info);
    cl_int error = read_traits(found->id, &t);
    if (error != CL_SUCCESS) {
        return lt_cl_fail(&opened, "clGetDeviceInfo", error);
    }
    const char *lack = lack_of(&t);
    if (lack != NULL) {
        return lt_fail(LATHE_NOT_SUPPORTED, "%s: the device %s", opened.info.name, lack);
    }
    opened.info.struct_size = sizeof opened.info;
    opened.max_alloc_bytes = t.max_alloc_bytes;
    opened.base_align_bytes = t.align_bits / 8;
    opened.group_size = group_size_of(&t);
    opened.is_cpu = (t.type & CL_DEVICE_TYPE_CPU) != 0;
    opened.is_small = is_small(&t);
    opened.lacks_ptx = has_capability(found->id, 0, 7);
    opened.has_ptx_90 = has_capability(found->id, 9, CL_UINT_MAX);
    opened.lacks_doubles = lacks_doubles(found->id);
    /* Mesa's renderer on the CPU ends all loops of a work-item after 65,535 rounds in all. */
    opened.cuts_loops = strcasestr(opened.info.name, "llvmpipe") != NULL;
    opened.shares_memory = t.shares_memory == CL_TRUE;
    lathe_status status =
        context == NULL ? create_context(&opened) : adopt_context(&opened, context);
    if (status == LATHE_OK) {
        *device = opened;
    }
    return status;
}

void lt_cl_device_close(lt_cl_device *device) {
    if (device->context != NULL) {
        lt_cl_release_context(device->context);
    }
    *device = (lt_cl_device){0};
}
