#pragma once
// Values between JavaScript and libtorch's IValue, directed by an operator's schema.

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <node_api.h>

#include <optional>

#include "environment.h"

namespace trainyard {

// What a schema type asks of a JavaScript value, worked out once per operator.
enum class Kind {
  kTensor,
  kTensorList,
  kOptionalTensorList,
  kScalar,
  kInteger,
  kFloat,
  kBoolean,
  kString,
  kIntegerList,
  kFloatList,
  kBooleanList,
  kDevice,
  kUnsupported,
};

struct Parameter {
  Kind kind;
  bool optional;
  // A bare number is allowed where the schema says int[2]: it counts for each element.
  int list_size;
  std::optional<c10::IValue> default_value;
};

Parameter parameter_of(const c10::Argument& argument);

// Throws CodedError when the value does not fit; `index` counts arguments from 0 for the message.
c10::IValue to_ivalue(Environment& environment, napi_value value, const Parameter& parameter, size_t index);

napi_value from_ivalue(Environment& environment, const c10::IValue& value);

}  // namespace trainyard
