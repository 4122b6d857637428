#pragma once
// How many bytes host tensors take, now and at most.

#include <node_api.h>

namespace trainyard {
void export_memory_count(napi_env env, napi_value exports);
// From here on every host tensor is counted. Called once when the add-on is loaded.
void count_memory();
}  // namespace trainyard
