#pragma once

#include <node_api.h>

namespace trainyard {
// Collectives in shared memory (src/comm/process-group/shared-memory.ts).
void export_shared_memory(napi_env env, napi_value exports);
}  // namespace trainyard
