/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench on an OpenCL device, in a build without OpenCL: there is no such device. */
#include "bench.h"

int bench_run_opencl(bench *b, uint64_t first_engine_ns) {
    (void)b;
    (void)first_engine_ns;
    return cli_fail("this build has no OpenCL");
}
