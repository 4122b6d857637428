#pragma once
// Native objects that JavaScript holds without seeing into them: the value is an external whose holder knows
// its type, so that one kind of object cannot be taken for another.

#include <node_api.h>

#include <typeindex>
#include <utility>

#include "errors.h"

namespace trainyard {

struct HolderBase {
  explicit HolderBase(std::type_index type) : type(type) {}
  virtual ~HolderBase() = default;
  const std::type_index type;
};

template <typename Object>
struct Holder : HolderBase {
  explicit Holder(Object object) : HolderBase(typeid(Object)), object(std::move(object)) {}
  Object object;
};

template <typename Object>
napi_value object_value(napi_env env, Object object) {
  HolderBase* holder = new Holder<Object>(std::move(object));
  napi_value result;
  napi_create_external(
      env, holder, [](napi_env, void* data, void*) { delete static_cast<HolderBase*>(data); }, nullptr, &result);
  return result;
}

template <typename Object>
Object& object_of(napi_env env, napi_value value) {
  void* data = nullptr;
  napi_valuetype type;
  napi_typeof(env, value, &type);
  if (type == napi_external) napi_get_value_external(env, value, &data);
  HolderBase* holder = static_cast<HolderBase*>(data);
  if (!holder || holder->type != typeid(Object)) {
    throw CodedError("TENSOR_OPERATOR", "A native object of another kind was expected.");
  }
  return static_cast<Holder<Object>*>(holder)->object;
}

}  // namespace trainyard
