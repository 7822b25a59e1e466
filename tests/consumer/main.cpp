/* SPDX-License-Identifier: Apache-2.0 */
/* The same from C++11, with handles that free themselves: rows of I8, and back. */
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <lathe/lathe.h>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

struct Deleter {
    void operator()(lathe_engine *engine) const {
        lathe_engine_free(engine);
    }
    void operator()(lathe_tensor *tensor) const {
        lathe_tensor_release(tensor);
    }
};
using Engine = std::unique_ptr<lathe_engine, Deleter>;
using Tensor = std::unique_ptr<lathe_tensor, Deleter>;

void check(lathe_status status) {
    if (status != LATHE_OK) {
        throw std::runtime_error(lathe_last_error()->message);
    }
}

Tensor wrap(const Engine &engine, std::vector<float> &values, uint64_t n_rows) {
    const uint64_t shape[] = {n_rows, values.size() / n_rows};
    lathe_tensor_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = LATHE_F32;
    desc.n_dims = 2;
    desc.shape = shape;
    lathe_tensor *tensor = nullptr;
    check(lathe_tensor_wrap(lathe_engine_pool(engine.get()), &desc, values.data(), nullptr,
                            LATHE_WRAP_READ_ONLY, nullptr, nullptr, &tensor));
    return Tensor(tensor);
}

Tensor convert(const Engine &engine, const Tensor &source, lathe_dtype dtype) {
    lathe_target target{};
    target.struct_size = sizeof target;
    target.dtype = dtype;
    target.granularity = dtype == LATHE_I8 ? LATHE_PER_ROW : LATHE_PER_TENSOR;
    lathe_tensor *result = nullptr;
    check(lathe_convert(engine.get(), source.get(), &target, &result, nullptr));
    return Tensor(result);
}

/* Each value comes back within half a step of its row's scale. */
bool comes_back(const Engine &engine) {
    std::vector<float> values{1.0F, -2.0F, 0.5F, 0.25F, 300.0F, -40.0F, 5.0F, 0.0F};
    const Tensor source = wrap(engine, values, 2);
    const Tensor codes = convert(engine, source, LATHE_I8);
    const Tensor decoded = convert(engine, codes, LATHE_F32);
    const float *scales = lathe_tensor_scales(codes.get());
    const float *back = static_cast<const float *>(lathe_tensor_data(decoded.get()));
    for (size_t i = 0; i < values.size(); i++) {
        if (std::fabs(back[i] - values[i]) > 0.501F * scales[i / 4]) {
            return false;
        }
    }
    return true;
}

} // namespace

int main() {
    try {
        lathe_engine *engine = nullptr;
        check(lathe_engine_create(nullptr, &engine));
        return comes_back(Engine(engine)) ? 0 : 1;
    } catch (const std::exception &failure) {
        (void)std::fprintf(stderr, "consumer: %s\n", failure.what());
        return 1;
    }
}
