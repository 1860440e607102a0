// /openapi.json: written from the tables of routes and of fields.
#include <fmt/format.h>

#include "base/json.h"
#include "server/api/api.h"
#include "server/api/api_request.h"
#include "upg/version.h"

namespace upg::server {
namespace {

struct BodySchema {
  std::string_view path;
  Route route;
  std::string_view required;
};
constexpr BodySchema kBodies[] = {
    {"/v1/chat/completions", Route::kChat, "messages"},
    {"/v1/completions", Route::kCompletion, "prompt"},
    {"/v1/embeddings", Route::kEmbedding, "input"},
    {"/apply-template", Route::kChat, "messages"},
};

constexpr std::string_view kErrorSchema =
    R"({"type":"object","required":["error"],"properties":{"error":{"type":"object",)"
    R"("required":["message","type","param","code"],"properties":{"message":{"type":"string"},)"
    R"("type":{"type":"string"},"param":{"type":["string","null"]},)"
    R"("code":{"type":["string","null"]}}}}})";

std::string fields_schema(Route route, std::string_view required) {
  std::string properties;
  for (const Field& field : request_fields()) {
    if ((field.routes & static_cast<unsigned>(route)) == 0) continue;
    properties += fmt::format(R"({}"{}":{{"description":{},"anyOf":[{},{{"type":"null"}}]}})",
                              properties.empty() ? "" : ",", field.name,
                              base::json_quote(field.about), field.schema);
  }
  return fmt::format(R"({{"type":"object","required":["{}"],"properties":{{{}}}}})", required,
                     properties);
}

std::string request_body(const RouteRow& row) {
  std::string schema;
  for (const BodySchema& body : kBodies) {
    if (body.path == row.path) schema = fields_schema(body.route, body.required);
  }
  if (row.path == "/tokenize") {
    schema = R"({"type":"object","required":["content"],"properties":{)"
             R"("content":{"type":"string"},"add_special":{"type":"boolean"}}})";
  } else if (row.path == "/detokenize") {
    schema = R"({"type":"object","required":["tokens"],"properties":{"tokens":{"type":"array",)"
             R"("items":{"type":"integer","minimum":0}}}})";
  }
  if (schema.empty()) return {};
  return fmt::format(
      R"("requestBody":{{"required":true,"content":{{"application/json":{{"schema":{}}}}}}},)",
      schema);
}

std::string operation(const RouteRow& row) {
  const bool has_id = row.path.find("{id}") != std::string_view::npos;
  std::string json = fmt::format(R"({{"summary":{},)", base::json_quote(row.about));
  if (has_id) {
    json += R"("parameters":[{"name":"id","in":"path","required":true,)"
            R"("schema":{"type":"string"}}],)";
  }
  if (row.path == "/props") {
    json += R"("parameters":[{"name":"model","in":"query","schema":{"type":"string"}}],)";
  }
  if (row.access == Access::kKey) json += R"("security":[{"key":[]}],)";
  json += request_body(row);
  json += R"("responses":{"200":{"description":"done"})";
  for (const char* status : {"400", "401", "404", "413", "415", "429", "501", "503", "504"}) {
    json += fmt::format(R"(,"{}":{{"$ref":"#/components/responses/error"}})", status);
  }
  return json + "}}";
}

std::string lower(std::string_view method) {
  std::string text(method);
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

void openapi(Api&, const http::ExchangePointer& exchange) {
  std::string paths;
  for (const RouteRow& row : routes()) {
    paths += fmt::format(R"({}"{}":{{"{}":{}}})", paths.empty() ? "" : ",", row.path,
                         lower(row.method), operation(row));
  }
  respond_json(exchange,
               fmt::format(R"({{"openapi":"3.1.0","info":{{"title":"upg","version":"{}"}},)"
                           R"("paths":{{{}}},"components":{{"securitySchemes":{{"key":{{)"
                           R"("type":"http","scheme":"bearer"}}}},"responses":{{"error":{{)"
                           R"("description":"an error","content":{{"application/json":{{)"
                           R"("schema":{}}}}}}}}}}}}})",
                           kVersion, paths, kErrorSchema));
}

}  // namespace upg::server
