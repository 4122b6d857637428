#pragma once
// Random state, threads, devices, memory behaviour, file mappings: what is one per process.

#include <node_api.h>

namespace trainyard {
void export_system(napi_env env, napi_value exports);
// Called once when the add-on is loaded.
void prepare_process();
}  // namespace trainyard
