#pragma once
// libtorch's autograd with hooks and backward functions written in TypeScript.

#include <node_api.h>

namespace trainyard {

void export_autograd(napi_env env, napi_value exports);

}  // namespace trainyard
