/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests around OpenCL share. They run on the device that LATHE_TEST_DEVICE names (default:
 * "opencl"), keep compiled programs in the folder LATHE_TEST_CACHE, and reach the fault layer
 * through OPENCL_LAYERS. */
#ifndef TESTS_OPENCL_SUPPORT_H
#define TESTS_OPENCL_SUPPORT_H

#include "cl_layer.h"
#include "support.h"
#include <lathe/lathe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *test_opencl_device(void) {
    const char *device = getenv("LATHE_TEST_DEVICE");
    return device != NULL ? device : "opencl";
}

/* A config for the device, which must do everything itself. */
static inline lathe_config test_opencl_config(void) {
    return (lathe_config){.struct_size = sizeof(lathe_config),
                          .n_threads = 2,
                          .device = test_opencl_device(),
                          .require_device = 1,
                          .program_cache_dir = getenv("LATHE_TEST_CACHE")};
}

/* Whether the device shares the host's memory, or was told to say that it does not. */
static inline lathe_status test_opencl_engine(const lathe_config *config, bool has_own_memory,
                                              const test_cl_layer *layer, lathe_engine **engine) {
    const test_cl_device own = {.has_own_memory = true};
    const test_cl_device real = {.has_own_memory = false};
    if (has_own_memory) {
        layer->set_device(&own);
    }
    lathe_status status = lathe_engine_create(config, engine);
    if (has_own_memory) {
        layer->set_device(&real);
    }
    return status;
}

static inline lathe_engine_stats test_engine_stats(lathe_engine *engine) {
    lathe_engine_stats stats = {.struct_size = sizeof stats};
    (void)lathe_engine_get_stats(engine, &stats);
    return stats;
}

/* Names what the layer says is left or was misused, in a buffer of its own; NULL if nothing. */
static inline const char *test_cl_leftovers(const test_cl_layer *layer) {
    static const char *const kinds[] = {"contexts", "queues",  "memory objects",
                                        "programs", "kernels", "events"};
    static char text[256];
    for (int kind = 0; kind < TEST_CL_KINDS; kind++) {
        const int n = (int)layer->n_live((test_cl_kind)kind);
        if (n != 0) {
            (void)snprintf(text, sizeof text, "%d %s are left", n, kinds[kind]);
            return text;
        }
    }
    if (layer->n_mapped() != 0) {
        (void)snprintf(text, sizeof text, "%d maps are left", (int)layer->n_mapped());
        return text;
    }
    if (layer->n_misuses() != 0) {
        (void)snprintf(text, sizeof text, "misused: %s, first of %d", layer->first_misuse(),
                       (int)layer->n_misuses());
        return text;
    }
    return NULL;
}

#endif
