#include "dispatch.h"

#include <sstream>

#include "args.h"
#include "constant-memory.h"

namespace trainyard {
namespace {

std::string describe(const at::Tensor& tensor) {
  if (!tensor.defined()) return "null";
  std::ostringstream text;
  text << c10::toString(tensor.scalar_type()) << tensor.sizes();
  if (!tensor.is_cpu()) text << '@' << tensor.device();
  return text.str();
}

// Shapes and dtypes of an operator's tensors, read from the JavaScript values because the stack is consumed.
std::string describe_arguments(const Arguments& arguments, const Operator& op) {
  std::string text;
  for (size_t i = 0; i < op.parameters.size() && i + 1 < arguments.count(); ++i) {
    const Kind kind = op.parameters[i].kind;
    std::string one;
    try {
      if (kind == Kind::kTensor && arguments.is(i + 1, napi_number)) {
        one = describe(arguments.tensor(i + 1));
      } else if (kind == Kind::kTensorList) {
        for (const at::Tensor& tensor : arguments.tensors(i + 1)) one += (one.empty() ? "" : " ") + describe(tensor);
      } else if (kind == Kind::kIntegerList && !arguments.is_absent(i + 1)) {
        std::ostringstream list;
        list << c10::IntArrayRef(arguments.integers(i + 1));
        one = list.str();
      }
    } catch (const std::exception&) {
      one = "freed";
    }
    if (one.empty()) continue;
    text += (text.empty() ? "" : ", ") + op.handle.schema().arguments()[i].name() + " " + one;
  }
  return text;
}

void push_arguments(Environment& environment, const Arguments& arguments, const Operator& op,
                    torch::jit::Stack& stack) {
  const size_t given = arguments.count() - 1;
  if (given > op.parameters.size()) {
    throw CodedError("TENSOR_OPERATOR", "Too many arguments: " + std::to_string(given) + " given, the schema has " +
                                            std::to_string(op.parameters.size()) + ".");
  }
  for (size_t i = 0; i < op.parameters.size(); ++i) {
    const Parameter& parameter = op.parameters[i];
    if (i < given) {
      stack.push_back(to_ivalue(environment, arguments.value(i + 1), parameter, i));
    } else if (parameter.default_value) {
      stack.push_back(*parameter.default_value);
    } else if (parameter.optional) {
      stack.emplace_back();
    } else {
      throw CodedError("TENSOR_OPERATOR", "Argument " + std::to_string(i + 1) + " (" +
                                              op.handle.schema().arguments()[i].name() + ") is missing.");
    }
  }
}

void demand_writable_arguments(const Operator& op, const torch::jit::Stack& stack) {
  for (const size_t index : op.written) {
    const c10::IValue& value = stack[index];
    if (value.isTensor()) demand_writable(value.toTensor());
    if (!value.isTensorList()) continue;
    for (const at::Tensor& tensor : value.toTensorVector()) demand_writable(tensor);
  }
}

napi_value take_results(Environment& environment, const Operator& op, torch::jit::Stack& stack) {
  if (op.returns_argument || stack.empty()) return undefined_value(environment.env);
  if (stack.size() == 1) {
    if (stack[0].isTensor()) return tensor_value(environment, std::move(stack[0]).toTensor());
    return from_ivalue(environment, stack[0]);
  }
  napi_value result;
  napi_create_array_with_length(environment.env, stack.size(), &result);
  for (size_t i = 0; i < stack.size(); ++i) {
    napi_set_element(environment.env, result, i, from_ivalue(environment, stack[i]));
  }
  return result;
}

napi_value call(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Environment& environment = arguments.environment();
  const Operator* op = nullptr;
  try {
    op = &environment.operators->at(static_cast<size_t>(arguments.integer(0)));
    torch::jit::Stack stack = environment.operators->borrow_stack();
    push_arguments(environment, arguments, *op, stack);
    demand_writable_arguments(*op, stack);
    op->handle.callBoxed(stack);
    napi_value result = take_results(environment, *op, stack);
    environment.operators->return_stack(std::move(stack));
    return result;
  } catch (...) {
    throw_to_javascript(env, op ? c10::toString(op->handle.operator_name()) : "call",
                        op ? describe_arguments(arguments, *op) : "");
    return nullptr;
  }
}

napi_value find_operator(napi_env env, napi_callback_info info) {
  return guarded(env, "findOperator", [&] {
    const Arguments arguments(env, info);
    const size_t index = arguments.environment().operators->find(arguments.string(0), arguments.string(1));
    return number_value(env, static_cast<double>(index));
  });
}

napi_value operator_schema(napi_env env, napi_callback_info info) {
  return guarded(env, "operatorSchema", [&] {
    const Arguments arguments(env, info);
    const Operator& op = arguments.environment().operators->at(static_cast<size_t>(arguments.integer(0)));
    return string_value(env, c10::toString(op.handle.schema()));
  });
}

napi_value list_operators(napi_env env, napi_callback_info) {
  return guarded(env, "listOperators", [&] {
    const std::vector<c10::OperatorName> names = c10::Dispatcher::singleton().getAllOpNames();
    napi_value result;
    napi_create_array_with_length(env, names.size(), &result);
    for (size_t i = 0; i < names.size(); ++i) {
      napi_set_element(env, result, i, string_value(env, c10::toString(names[i])));
    }
    return result;
  });
}

// An operator that only writes and returns an argument it was given ("Tensor(a!) self -> Tensor(a!)").
bool returns_argument(const c10::FunctionSchema& schema) {
  if (schema.returns().empty()) return false;
  for (const c10::Argument& result : schema.returns()) {
    if (!result.alias_info() || !result.alias_info()->isWrite()) return false;
  }
  return true;
}

}  // namespace

size_t OperatorTable::find(const std::string& name, const std::string& overload) {
  const std::string key = name + "." + overload;
  const auto known = index_.find(key);
  if (known != index_.end()) return known->second;
  const auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!handle) {
    throw CodedError("TENSOR_OPERATOR", "There is no operator " + key + " in this libtorch.");
  }
  Operator op{*handle, {}, returns_argument(handle->schema()), {}};
  for (const c10::Argument& argument : handle->schema().arguments()) {
    if (argument.alias_info() && argument.alias_info()->isWrite()) op.written.push_back(op.parameters.size());
    op.parameters.push_back(parameter_of(argument));
  }
  operators_.push_back(std::move(op));
  index_.emplace(key, operators_.size() - 1);
  return operators_.size() - 1;
}

Operator& OperatorTable::at(size_t index) {
  if (index >= operators_.size()) throw CodedError("TENSOR_OPERATOR", "Unknown operator number.");
  return operators_[index];
}

torch::jit::Stack OperatorTable::borrow_stack() {
  if (spare_stacks_.empty()) return {};
  torch::jit::Stack stack = std::move(spare_stacks_.back());
  spare_stacks_.pop_back();
  return stack;
}

void OperatorTable::return_stack(torch::jit::Stack stack) {
  stack.clear();
  spare_stacks_.push_back(std::move(stack));
}

void export_dispatch(napi_env env, napi_value exports) {
  export_function(env, exports, "findOperator", find_operator);
  export_function(env, exports, "operatorSchema", operator_schema);
  export_function(env, exports, "listOperators", list_operators);
  export_function(env, exports, "call", call);
}

}  // namespace trainyard
