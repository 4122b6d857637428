#include "environment.h"

#include "autograd.h"
#include "dispatch.h"

namespace trainyard {

Environment::Environment(napi_env env)
    : env(env),
      javascript_thread(std::this_thread::get_id()),
      operators(std::make_unique<OperatorTable>()),
      hooks(std::make_unique<HookTable>()) {}

Environment::~Environment() = default;

Environment& Environment::of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<Environment*>(data);
}

void Environment::bury(napi_ref reference) {
  std::lock_guard<std::mutex> lock(buried_mutex_);
  buried_.push_back(reference);
}

void Environment::collect_buried() {
  std::vector<napi_ref> references;
  {
    std::lock_guard<std::mutex> lock(buried_mutex_);
    if (buried_.empty()) return;
    references.swap(buried_);
  }
  for (napi_ref reference : references) napi_delete_reference(env, reference);
}

}  // namespace trainyard
