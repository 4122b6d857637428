#pragma once
// A thread that writes the time into an open file, again and again, whatever the JavaScript thread does.

#include <node_api.h>

namespace trainyard {
void export_heartbeat(napi_env env, napi_value exports);
}  // namespace trainyard
