#include "environment.h"

#include "dispatch.h"
#include "javascript-thread.h"

namespace trainyard {

Environment::Environment(napi_env env)
    : env(env),
      operators(std::make_unique<OperatorTable>()),
      javascript_thread(std::make_unique<JavaScriptThread>()) {}

Environment::~Environment() { graveyard->close(); }

Environment& Environment::of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<Environment*>(data);
}

void Graveyard::bury(napi_ref reference) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (open_) buried_.push_back(reference);
}

void Graveyard::collect(napi_env env) {
  std::vector<napi_ref> references;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (buried_.empty()) return;
    references.swap(buried_);
  }
  for (napi_ref reference : references) napi_delete_reference(env, reference);
}

void Graveyard::close() {
  std::lock_guard<std::mutex> lock(mutex_);
  open_ = false;
  buried_.clear();
}

}  // namespace trainyard
