#pragma once
// Process groups and their collectives, through c10d's Backend interface.

#include <node_api.h>

namespace trainyard {

void export_process_group(napi_env env, napi_value exports);

}  // namespace trainyard
