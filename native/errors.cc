#include "errors.h"

#include <c10/util/Exception.h>

#include "environment.h"

namespace trainyard {
namespace {

struct Description {
  std::string code;
  std::string what;
  std::string stack;
};

// libtorch's first line says what is wrong; what follows is hints for Python and C++ frames.
std::string first_paragraph(const std::string& text) {
  const size_t frames = text.find("\nException raised from");
  std::string head = frames == std::string::npos ? text : text.substr(0, frames);
  while (!head.empty() && (head.back() == '\n' || head.back() == ' ')) head.pop_back();
  return head;
}

Description describe_current_exception() {
  try {
    throw;
  } catch (const CodedError& error) {
    return {error.code, error.what(), ""};
  } catch (const FreedHandle& error) {
    return {"TENSOR_FREED", "A tensor was used after it was freed.", ""};
  } catch (const c10::Error& error) {
    return {"TENSOR_OPERATOR", first_paragraph(error.what_without_backtrace()), error.what()};
  } catch (const std::exception& error) {
    return {"TENSOR_OPERATOR", first_paragraph(error.what()), error.what()};
  } catch (...) {
    return {"TENSOR_OPERATOR", "Something that is not an exception was thrown.", ""};
  }
}

napi_value string_value(napi_env env, const std::string& text) {
  napi_value value;
  napi_create_string_utf8(env, text.c_str(), text.size(), &value);
  return value;
}

void throw_described(napi_env env, Environment& environment, const Description& error, const std::string& where,
                     const std::string& got) {
  napi_value factory = nullptr;
  if (environment.error_factory) napi_get_reference_value(env, environment.error_factory, &factory);
  if (!factory) {
    napi_throw_error(env, error.code.c_str(), error.what.c_str());
    return;
  }
  napi_value arguments[5] = {string_value(env, error.code), string_value(env, error.what), string_value(env, where),
                             string_value(env, got), string_value(env, environment.debug ? error.stack : "")};
  napi_value undefined, exception;
  napi_get_undefined(env, &undefined);
  if (napi_call_function(env, undefined, factory, 5, arguments, &exception) == napi_ok) napi_throw(env, exception);
}

}  // namespace

void throw_to_javascript(napi_env env, const std::string& where, const std::string& got) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) return;
  Environment& environment = Environment::of(env);
  if (environment.pending_exception) {
    napi_value exception;
    napi_get_reference_value(env, environment.pending_exception, &exception);
    napi_delete_reference(env, environment.pending_exception);
    environment.pending_exception = nullptr;
    napi_throw(env, exception);
    return;
  }
  throw_described(env, environment, describe_current_exception(), where, got);
}

}  // namespace trainyard
