#pragma once
// How many bytes host tensors take, now and at most.

#include <node_api.h>

#include <cstdint>

namespace trainyard {
void export_memory_count(napi_env env, napi_value exports);
// From here on every host tensor is counted. Called once when the add-on is loaded.
void count_memory();
// Counts host memory of tensors that comes from elsewhere; negative when it goes.
void count_bytes(int64_t bytes);
}  // namespace trainyard
