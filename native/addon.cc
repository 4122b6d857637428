// The export list of the add-on, and nothing else.

#include <node_api.h>

#include "autograd.h"
#include "constant-memory.h"
#include "dispatch.h"
#include "environment.h"
#include "file-io/exports.h"
#include "heartbeat.h"
#include "memory-count.h"
#include "process-group.h"
#include "rendezvous-store.h"
#include "shared-memory/exports.h"
#include "system.h"
#include "tensor-memory.h"

namespace trainyard {

static napi_value initialize(napi_env env, napi_value exports) {
  prepare_process();
  count_memory();
  napi_set_instance_data(
      env, new Environment(env), [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); },
      nullptr);
  export_dispatch(env, exports);
  export_tensor_memory(env, exports);
  export_constant_memory(env, exports);
  export_memory_count(env, exports);
  export_autograd(env, exports);
  export_system(env, exports);
  export_rendezvous_store(env, exports);
  export_process_group(env, exports);
  export_shared_memory(env, exports);
  export_file_io(env, exports);
  export_heartbeat(env, exports);
  return exports;
}

}  // namespace trainyard

NAPI_MODULE(trainyard, trainyard::initialize)
