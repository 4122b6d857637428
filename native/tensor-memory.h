#pragma once
// Tensors from bytes and back, and the table of live handles.

#include <node_api.h>

namespace trainyard {
void export_tensor_memory(napi_env env, napi_value exports);
}
