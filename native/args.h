#pragma once
// Uniform access to the arguments of a native function. The readable checks live in TypeScript; what is
// repeated here only protects memory.

#include <node_api.h>

#include <string>
#include <vector>

#include "environment.h"
#include "errors.h"

namespace trainyard {

class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env), environment_(Environment::of(env)) {
    count_ = kUsual;
    napi_get_cb_info(env, info, &count_, usual_, nullptr, nullptr);
    if (count_ <= kUsual) return;
    many_.resize(count_);
    napi_get_cb_info(env, info, &count_, many_.data(), nullptr, nullptr);
    values_ = many_.data();
  }
  Arguments(const Arguments&) = delete;

  napi_env env() const { return env_; }
  Environment& environment() const { return environment_; }
  size_t count() const { return count_; }
  napi_value value(size_t index) const { return values_[index]; }

  bool is(size_t index, napi_valuetype type) const {
    napi_valuetype actual;
    napi_typeof(env_, values_[index], &actual);
    return actual == type;
  }
  bool is_absent(size_t index) const { return is(index, napi_undefined) || is(index, napi_null); }

  int64_t integer(size_t index) const {
    int64_t result;
    check(napi_get_value_int64(env_, values_[index], &result), index, "an integer");
    return result;
  }
  double number(size_t index) const {
    double result;
    check(napi_get_value_double(env_, values_[index], &result), index, "a number");
    return result;
  }
  bool boolean(size_t index) const {
    bool result;
    check(napi_get_value_bool(env_, values_[index], &result), index, "a boolean");
    return result;
  }
  std::string string(size_t index) const { return string_of(values_[index], index); }
  at::Tensor& tensor(size_t index) const { return environment_.tensors.get(handle(index)); }
  Handle handle(size_t index) const {
    const int64_t number = integer(index);
    if (number != static_cast<Handle>(number)) throw FreedHandle();
    return static_cast<Handle>(number);
  }

  std::vector<int64_t> integers(size_t index) const {
    std::vector<int64_t> result;
    each(index, [&](napi_value element) {
      int64_t number;
      check(napi_get_value_int64(env_, element, &number), index, "an array of integers");
      result.push_back(number);
    });
    return result;
  }

  std::vector<std::string> strings(size_t index) const {
    std::vector<std::string> result;
    each(index, [&](napi_value element) { result.push_back(string_of(element, index)); });
    return result;
  }

  // Handles; null and undefined become undefined tensors.
  std::vector<at::Tensor> tensors(size_t index) const {
    std::vector<at::Tensor> result;
    each(index, [&](napi_value element) {
      int32_t handle;
      if (napi_get_value_int32(env_, element, &handle) == napi_ok) {
        result.push_back(environment_.tensors.get(handle));
      } else {
        result.emplace_back();
      }
    });
    return result;
  }

  // A JavaScript function, held until the reference is deleted or buried.
  napi_ref function(size_t index) const {
    check(is(index, napi_function) ? napi_ok : napi_function_expected, index, "a function");
    napi_ref reference;
    check(napi_create_reference(env_, values_[index], 1, &reference), index, "a function");
    return reference;
  }

  struct Bytes {
    uint8_t* data;
    size_t length;
    napi_value buffer;
  };
  Bytes bytes(size_t index) const {
    napi_typedarray_type type;
    size_t length, offset;
    void* data;
    napi_value buffer;
    check(napi_get_typedarray_info(env_, values_[index], &type, &length, &data, &buffer, &offset), index,
          "a Uint8Array");
    if (type != napi_uint8_array) check(napi_invalid_arg, index, "a Uint8Array");
    return {static_cast<uint8_t*>(data), length, buffer};
  }

  // Property of an options object.
  napi_value property(size_t index, const char* name) const {
    napi_value result;
    check(napi_get_named_property(env_, values_[index], name, &result), index, "an options object");
    return result;
  }
  std::string string_of(napi_value value, size_t index = 0) const {
    size_t length;
    check(napi_get_value_string_utf8(env_, value, nullptr, 0, &length), index, "a string");
    std::string result(length, '\0');
    napi_get_value_string_utf8(env_, value, result.data(), length + 1, &length);
    return result;
  }
  int64_t integer_of(napi_value value, size_t index = 0) const {
    int64_t result;
    check(napi_get_value_int64(env_, value, &result), index, "an integer");
    return result;
  }
  bool boolean_of(napi_value value, size_t index = 0) const {
    bool result;
    check(napi_get_value_bool(env_, value, &result), index, "a boolean");
    return result;
  }

 private:
  template <typename Visit>
  void each(size_t index, Visit&& visit) const {
    uint32_t length;
    check(napi_get_array_length(env_, values_[index], &length), index, "an array");
    for (uint32_t i = 0; i < length; ++i) {
      napi_value element;
      napi_get_element(env_, values_[index], i, &element);
      visit(element);
    }
  }

  void check(napi_status status, size_t index, const char* expected) const {
    if (status == napi_ok) return;
    throw CodedError("TENSOR_OPERATOR", "Argument " + std::to_string(index + 1) + " must be " + expected + ".");
  }

  napi_env env_;
  Environment& environment_;
  size_t count_;
  // Operators with more arguments are rare, and each value that is asked for costs time.
  static constexpr size_t kUsual = 16;
  napi_value usual_[kUsual];
  std::vector<napi_value> many_;
  const napi_value* values_ = usual_;
};

inline napi_value undefined_value(napi_env env) {
  napi_value result;
  napi_get_undefined(env, &result);
  return result;
}
inline napi_value null_value(napi_env env) {
  napi_value result;
  napi_get_null(env, &result);
  return result;
}
inline napi_value number_value(napi_env env, double number) {
  napi_value result;
  napi_create_double(env, number, &result);
  return result;
}
inline napi_value boolean_value(napi_env env, bool boolean) {
  napi_value result;
  napi_get_boolean(env, boolean, &result);
  return result;
}
inline napi_value string_value(napi_env env, const std::string& text) {
  napi_value result;
  napi_create_string_utf8(env, text.c_str(), text.size(), &result);
  return result;
}
inline napi_value integers_value(napi_env env, c10::IntArrayRef numbers) {
  napi_value result;
  napi_create_array_with_length(env, numbers.size(), &result);
  for (size_t i = 0; i < numbers.size(); ++i) {
    napi_set_element(env, result, i, number_value(env, static_cast<double>(numbers[i])));
  }
  return result;
}
// A new handle; an undefined tensor becomes null.
inline napi_value tensor_value(Environment& environment, at::Tensor tensor) {
  if (!tensor.defined()) return null_value(environment.env);
  napi_value result;
  napi_create_int32(environment.env, environment.tensors.add(std::move(tensor)), &result);
  return result;
}

// Adds a function to the add-on's exports.
inline void export_function(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

}  // namespace trainyard
