#pragma once
// C++ exceptions become TypeScript errors here, and nowhere else.

#include <node_api.h>

#include <stdexcept>
#include <string>

namespace trainyard {

// An error with one of the codes of src/base/error-codes.ts.
struct CodedError : std::runtime_error {
  CodedError(std::string code, const std::string& what) : std::runtime_error(what), code(std::move(code)) {}
  std::string code;
};

// A JavaScript exception is already pending or stored; unwinding only.
struct JavaScriptException : std::runtime_error {
  JavaScriptException() : std::runtime_error("a TypeScript callback threw") {}
};

// Call inside a catch block: throws into JavaScript what the current C++ exception says. `where` names the
// operation, `got` its arguments.
void throw_to_javascript(napi_env env, const std::string& where, const std::string& got);

// Runs `body`, turning every exception into a JavaScript one.
template <typename Body>
napi_value guarded(napi_env env, const char* where, Body&& body) {
  try {
    return body();
  } catch (...) {
    throw_to_javascript(env, where, "");
    return nullptr;
  }
}

}  // namespace trainyard
