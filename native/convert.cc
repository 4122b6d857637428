#include "convert.h"

#include <cmath>

#include "args.h"

namespace trainyard {
namespace {

Kind list_kind(const c10::Type& element) {
  switch (element.kind()) {
    case c10::TypeKind::TensorType:
      return Kind::kTensorList;
    case c10::TypeKind::OptionalType:
      return Kind::kOptionalTensorList;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return Kind::kIntegerList;
    case c10::TypeKind::FloatType:
      return Kind::kFloatList;
    case c10::TypeKind::BoolType:
      return Kind::kBooleanList;
    default:
      return Kind::kUnsupported;
  }
}

Kind kind_of(const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::TensorType:
      return Kind::kTensor;
    case c10::TypeKind::NumberType:
      return Kind::kScalar;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
    case c10::TypeKind::ScalarTypeType:
    case c10::TypeKind::LayoutType:
    case c10::TypeKind::MemoryFormatType:
      return Kind::kInteger;
    case c10::TypeKind::FloatType:
      return Kind::kFloat;
    case c10::TypeKind::BoolType:
      return Kind::kBoolean;
    case c10::TypeKind::StringType:
      return Kind::kString;
    case c10::TypeKind::DeviceObjType:
      return Kind::kDevice;
    case c10::TypeKind::ListType:
      return list_kind(*type.castRaw<c10::ListType>()->getElementType());
    default:
      return Kind::kUnsupported;
  }
}

[[noreturn]] void refuse(size_t index, const char* expected) {
  throw CodedError("TENSOR_OPERATOR", "Argument " + std::to_string(index + 1) + " must be " + expected + ".");
}

bool is_integral(double number) {
  return number == std::floor(number) && std::abs(number) < 9007199254740992.0 && !(number == 0 && std::signbit(number));
}

// JavaScript has one number type: whole values become integers, as libtorch promotes them harmlessly.
c10::IValue scalar_of(napi_env env, napi_value value, size_t index) {
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok) {
    if (is_integral(number)) return c10::IValue(static_cast<int64_t>(number));
    return c10::IValue(number);
  }
  bool boolean;
  if (napi_get_value_bool(env, value, &boolean) == napi_ok) return c10::IValue(boolean);
  int64_t integer;
  bool lossless;
  if (napi_get_value_bigint_int64(env, value, &integer, &lossless) == napi_ok) return c10::IValue(integer);
  refuse(index, "a number");
}

int64_t integer_of(napi_env env, napi_value value, size_t index) {
  int64_t integer;
  if (napi_get_value_int64(env, value, &integer) == napi_ok) return integer;
  bool lossless;
  if (napi_get_value_bigint_int64(env, value, &integer, &lossless) == napi_ok) return integer;
  refuse(index, "an integer");
}

double float_of(napi_env env, napi_value value, size_t index) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) refuse(index, "a number");
  return number;
}

bool boolean_of(napi_env env, napi_value value, size_t index) {
  bool boolean;
  if (napi_get_value_bool(env, value, &boolean) != napi_ok) refuse(index, "a boolean");
  return boolean;
}

std::string text_of(napi_env env, napi_value value, size_t index) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) refuse(index, "a string");
  std::string text(length, '\0');
  napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  return text;
}

template <typename Element, typename Read>
c10::List<Element> list_of(napi_env env, napi_value value, size_t index, int list_size, Read&& read) {
  c10::List<Element> list;
  uint32_t length;
  if (napi_get_array_length(env, value, &length) != napi_ok) {
    if (list_size <= 0) refuse(index, "an array");
    for (int i = 0; i < list_size; ++i) list.push_back(read(value));
    return list;
  }
  list.reserve(length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_value element;
    napi_get_element(env, value, i, &element);
    list.push_back(read(element));
  }
  return list;
}

at::Tensor& tensor_of(Environment& environment, napi_value value, size_t index) {
  int32_t handle;
  if (napi_get_value_int32(environment.env, value, &handle) != napi_ok) refuse(index, "a tensor");
  return environment.tensors.get(handle);
}

c10::IValue absent(const Parameter& parameter, bool is_null, size_t index) {
  if (!is_null && parameter.default_value) return *parameter.default_value;
  if (parameter.optional) return c10::IValue();
  if (parameter.default_value) return *parameter.default_value;
  refuse(index, "given: it has no default");
}

}  // namespace

Parameter parameter_of(const c10::Argument& argument) {
  // real_type keeps dtypes and layouts apart from plain integers, and SymInt from int.
  c10::TypePtr type = argument.real_type();
  bool optional = false;
  if (const auto* wrapped = type->castRaw<c10::OptionalType>()) {
    optional = true;
    type = wrapped->getElementType();
  }
  return {kind_of(*type), optional, argument.N().value_or(0), argument.default_value()};
}

c10::IValue to_ivalue(Environment& environment, napi_value value, const Parameter& parameter, size_t index) {
  napi_env env = environment.env;
  if (parameter.kind == Kind::kTensor) {
    // The hot path: no typeof before the conversion.
    int32_t handle;
    if (napi_get_value_int32(env, value, &handle) == napi_ok) return environment.tensors.get(handle);
  }
  napi_valuetype type;
  napi_typeof(env, value, &type);
  if (type == napi_undefined || type == napi_null) return absent(parameter, type == napi_null, index);
  switch (parameter.kind) {
    case Kind::kTensor:
      return tensor_of(environment, value, index);
    case Kind::kTensorList:
      return list_of<at::Tensor>(env, value, index, 0,
                                 [&](napi_value element) { return tensor_of(environment, element, index); });
    case Kind::kOptionalTensorList:
      return list_of<std::optional<at::Tensor>>(
          env, value, index, 0, [&](napi_value element) -> std::optional<at::Tensor> {
            napi_valuetype element_type;
            napi_typeof(env, element, &element_type);
            if (element_type != napi_number) return std::nullopt;
            return tensor_of(environment, element, index);
          });
    case Kind::kScalar:
      return scalar_of(env, value, index);
    case Kind::kInteger:
      return integer_of(env, value, index);
    case Kind::kFloat:
      return float_of(env, value, index);
    case Kind::kBoolean:
      return boolean_of(env, value, index);
    case Kind::kString:
      return text_of(env, value, index);
    case Kind::kIntegerList:
      return list_of<int64_t>(env, value, index, parameter.list_size,
                              [&](napi_value element) { return integer_of(env, element, index); });
    case Kind::kFloatList:
      return list_of<double>(env, value, index, parameter.list_size,
                             [&](napi_value element) { return float_of(env, element, index); });
    case Kind::kBooleanList:
      return list_of<bool>(env, value, index, parameter.list_size,
                           [&](napi_value element) { return boolean_of(env, element, index); });
    case Kind::kDevice:
      return c10::IValue(c10::Device(text_of(env, value, index)));
    case Kind::kUnsupported:
      break;
  }
  refuse(index, "left out: its type cannot be given from JavaScript");
}

napi_value from_ivalue(Environment& environment, const c10::IValue& value) {
  napi_env env = environment.env;
  if (value.isTensor()) return tensor_value(environment, value.toTensor());
  if (value.isNone()) return null_value(env);
  if (value.isInt()) return number_value(env, static_cast<double>(value.toInt()));
  if (value.isDouble()) return number_value(env, value.toDouble());
  if (value.isBool()) return boolean_value(env, value.toBool());
  if (value.isString()) return string_value(env, value.toStringRef());
  if (value.isSymInt()) return number_value(env, static_cast<double>(value.toSymInt().expect_int()));
  if (value.isDevice()) return string_value(env, value.toDevice().str());
  if (value.isScalar()) return number_value(env, value.toScalar().toDouble());
  if (value.isList()) {
    const c10::ArrayRef<c10::IValue> elements = value.toListRef();
    napi_value result;
    napi_create_array_with_length(env, elements.size(), &result);
    for (size_t i = 0; i < elements.size(); ++i) {
      napi_set_element(env, result, i, from_ivalue(environment, elements[i]));
    }
    return result;
  }
  throw CodedError("TENSOR_OPERATOR", "A result of type " + value.tagKind() + " cannot be shown to JavaScript.");
}

}  // namespace trainyard
