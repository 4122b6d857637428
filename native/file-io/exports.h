#pragma once
// Files that are read and written beside the JavaScript thread, past the page cache where the system allows it.

#include <node_api.h>

namespace trainyard {
void export_file_io(napi_env env, napi_value exports);
}  // namespace trainyard
