// The whole server over real sockets and a model without weights.
#include "server/server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "server/testing/test_client.h"

namespace upg::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::string_view kChat = "/v1/chat/completions";
constexpr std::string_view kText = "/v1/completions";

json message(std::string_view text) { return {{"role", "user"}, {"content", text}}; }

// The events of a stream, [DONE] aside.
std::vector<json> events_of(const std::string& body, bool& done) {
  std::vector<json> events;
  done = false;
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = body.find("\n\n", begin);
    if (end == std::string::npos) break;
    const std::string event = body.substr(begin, end - begin);
    EXPECT_THAT(event, StartsWith("data: "));
    EXPECT_FALSE(done) << "something after [DONE]";
    if (event == "data: [DONE]") {
      done = true;
    } else {
      events.push_back(json::parse(event.substr(6)));
    }
    begin = end + 2;
  }
  return events;
}

double metric(int port, std::string_view name) {
  const std::string text = ask(port, "GET", "/metrics").body;
  double sum = 0;
  for (size_t at = 0; (at = text.find(fmt::format("\n{}", name), at)) != std::string::npos; ++at) {
    const size_t space = text.find(' ', at + 1 + name.size());
    const char next = text[at + 1 + name.size()];
    if (next == '{' || next == ' ') sum += std::stod(text.substr(space));
  }
  return sum;
}

void wait_until(const std::function<bool()>& what) {
  const auto limit = steady_clock::now() + std::chrono::seconds(20);
  while (!what() && steady_clock::now() < limit) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_TRUE(what());
}

TEST(Server, ChatAsAWholeAndInPieces) {
  TestServer server({}, {.script = "Good day, wörld."});
  json body = {{"messages", {message("hi")}}};
  const Answer whole = ask(server.port(), "POST", kChat, body.dump());
  ASSERT_EQ(whole.status, 200) << whole.body;
  const json answer = json::parse(whole.body);
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "Good day, wörld.");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 17);
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const Answer streamed = ask(server.port(), "POST", kChat, body.dump());
  EXPECT_THAT(streamed.head, HasSubstr("Content-Type: text/event-stream"));
  bool done = false;
  const std::vector<json> events = events_of(streamed.body, done);
  EXPECT_TRUE(done);
  std::string text;
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i]["id"], events[0]["id"]);
    EXPECT_EQ(events[i]["object"], "chat.completion.chunk");
    ASSERT_EQ(events[i]["choices"].size(), 1U);
    text += events[i]["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, "Good day, wörld.");
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 17);
}

TEST(Server, StopStringsAreNeverShown) {
  TestServer server({}, {.script = "one two three"});
  for (const bool stream : {false, true}) {
    const json body = {{"messages", {message("hi")}}, {"stop", {"o t"}}, {"stream", stream}};
    const Answer answer = ask(server.port(), "POST", kChat, body.dump());
    EXPECT_THAT(answer.body, testing::Not(HasSubstr("three")));
    if (!stream) {
      EXPECT_EQ(json::parse(answer.body)["choices"][0]["message"]["content"], "one tw");
    }
  }
}

TEST(Server, PromptsOfEveryForm) {
  TestServer server;
  const json prompts[] = {"abc", {"abc", "de"}, {97, 98, 99}, {{97, 98}, {99}}};
  const size_t choices[] = {1, 2, 1, 2};
  for (size_t i = 0; i < 4; ++i) {
    const json body = {{"prompt", prompts[i]}, {"max_tokens", 3}, {"n", 2}};
    const Answer answer = ask(server.port(), "POST", kText, body.dump());
    ASSERT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(json::parse(answer.body)["choices"].size(), 2 * choices[i]);
  }
}

struct Bad {
  std::string_view path;
  std::string_view body;
  int status;
  std::string_view says;
};

TEST(Server, WhatIsWrongIsNamed) {
  TestServer server({}, {.context = 100});
  const Bad cases[] = {
      {kChat, "", 400, "found nothing"},
      {kChat, "null", 400, "needed is an object"},
      {kChat, "[]", 400, "needed is an object"},
      {kChat, "{", 400, "the body"},
      {kChat, "{\"messages\":[]}", 400, "messages: found none"},
      {kChat, "{\"messages\":{}}", 400, "messages"},
      {kChat, "{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}", 400, "messages[0].role"},
      {kChat, "{\"messages\":[{\"role\":\"user\"}]}", 400, "messages[0].content"},
      {kChat, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", 400,
       "text alone"},
      {kText, "{\"prompt\":\"x\",\"temperature\":2.5}", 400, "temperature: found 2.5"},
      {kText, "{\"prompt\":\"x\",\"temperature\":\"1\"}", 400, "temperature"},
      {kText, "{\"prompt\":\"x\",\"temperature\":1e400}", 400, "the body"},
      {kText, "{\"prompt\":\"x\",\"temperature\":NaN}", 400, "the body"},
      {kText, "{\"prompt\":\"x\",\"n\":0}", 400, "n:"},
      {kText, "{\"prompt\":\"x\",\"n\":1000000}", 400, "n:"},
      {kText, "{\"prompt\":\"x\",\"max_tokens\":2.5}", 400, "max_tokens"},
      {kText, "{\"prompt\":\"x\",\"max_tokens\":99999999999}", 400, "max_tokens"},
      {kText, "{\"prompt\":\"x\",\"logprobs\":1000000}", 400, "logprobs"},
      {kText, "{\"prompt\":\"x\",\"logit_bias\":{\"-1\":1}}", 400, "logit_bias"},
      {kText, "{\"prompt\":\"x\",\"logit_bias\":{\"2147483648\":1}}", 400, "logit_bias"},
      {kText, "{\"prompt\":\"x\",\"best_of\":3}", 400, "best_of"},
      {kText, "{\"prompt\":\"x\",\"suffix\":\"y\"}", 400, "suffix"},
      {kText, "{\"prompt\":[]}", 400, "prompt"},
      {kText, "{\"prompt\":\"\"}", 400, "no tokens"},
      {kText, "{\"prompt\":[300]}", 400, "token 300"},
      {kText, "{\"prompt\":\"x\",\"response_format\":{\"type\":\"xml\"}}", 400, "response_format"},
      {kText, "{\"prompt\":\"x\",\"prompt\":\"y\"}", 400, "prompt"},
      {"/v1/embeddings", "{\"input\":\"x\",\"encoding_format\":\"hex\"}", 400, "encoding_format"},
      {"/tokenize", "{}", 400, "prompt"},
      {"/detokenize", "{\"tokens\":[-1]}", 400, "tokens"},
      {"/nowhere", "{}", 404, "nothing at this path"},
      {"/health", "{}", 405, "POST"},
  };
  for (const Bad& bad : cases) {
    TestClient client(server.port());
    client.send(
        fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: {}\r\n\r\n{}",
                    bad.path, bad.body.size(), bad.body));
    const Answer answer = client.read_answer();
    EXPECT_EQ(answer.status, bad.status) << bad.body << answer.body;
    const json error = json::parse(answer.body)["error"];
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(bad.says)) << bad.body;
    for (const char* field : {"type", "param", "code"}) EXPECT_TRUE(error.contains(field));
  }
  const json long_prompt = {{"prompt", std::string(101, 'x')}};
  const Answer answer = ask(server.port(), "POST", kText, long_prompt.dump());
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body, HasSubstr("context_length_exceeded"));
  EXPECT_THAT(answer.body, HasSubstr("100 tokens"));
  EXPECT_THAT(answer.body, HasSubstr("101 tokens"));
}

TEST(Server, EveryRouteAsksForTheKeyButTheNamedOnes) {
  ServerOptions options;
  options.api_keys = {"secret-key", "other"};
  TestServer server(options);
  for (const RouteRow& row : routes()) {
    std::string path(row.path);
    if (const size_t id = path.find("{id}"); id != std::string::npos) path.replace(id, 4, "fake");
    const std::string body = row.method == "POST" ? "{}" : "";
    const bool is_public = row.path == "/health" || row.path == "/v1/health";
    for (const std::string_view bad :
         {"", "Authorization: Bearer\r\n", "Authorization: Bearer secret\r\n",
          "Authorization: Bearer secret-key2\r\n", "Authorization: Basic secret-key\r\n",
          "Authorization: Bearer secret-key\r\nAuthorization: Bearer x\r\n"}) {
      EXPECT_EQ(ask(server.port(), row.method, path, body, bad).status, is_public ? 200 : 401)
          << row.path << bad;
    }
    EXPECT_NE(ask(server.port(), row.method, path, body, "Authorization: bearer other\r\n").status,
              401);
    EXPECT_NE(
        ask(server.port(), row.method, path + "?x=1", body, "Authorization: Bearer secret-key\r\n")
            .status,
        401);
  }
  EXPECT_EQ(ask(server.port(), "GET", "/unknown?key=secret-key").status, 401);
  EXPECT_EQ(ask(server.port(), "GET", "/").status, 200);  // the page, which asks for one
}

// A client that leaves frees its place, whatever its request was doing.
TEST(Server, WhoLeavesIsCancelled) {
  ServerOptions options;
  options.host.scheduler.parallel = 1;
  TestServer server(options, {.step = milliseconds(3)});
  for (const bool stream : {false, true}) {
    const json body = {{"prompt", "x"}, {"max_tokens", 4000}, {"stream", stream}};
    const double before = metric(server.port(), "upg:request_failure_total");
    TestClient working(server.port());
    working.send(request_text("POST", kText, body.dump()));
    wait_until([&] { return metric(server.port(), "upg:num_requests_running") == 1; });
    TestClient waiting(server.port());
    waiting.send(request_text("POST", kText, body.dump()));
    wait_until([&] { return metric(server.port(), "upg:num_requests_waiting") == 1; });
    const auto begin = steady_clock::now();
    waiting.close();
    working.reset();
    wait_until([&] { return metric(server.port(), "upg:request_failure_total") == before + 2; });
    EXPECT_LT(steady_clock::now() - begin, milliseconds(250));
  }
  EXPECT_EQ(metric(server.port(), "upg:requests_total"), 4);
}

TEST(Server, ASlowReaderIsGivenUpWithoutHoldingUpOthers) {
  ServerOptions options;
  options.limits.output_bytes = 64 << 10;
  TestServer server(options, {.context = 1 << 20, .pages = 1 << 16});
  const json endless = {{"prompt", "x"}, {"max_tokens", 1000000}, {"stream", true}};
  TestClient slow(server.port());
  slow.send(request_text("POST", kText, endless.dump()));
  wait_until([&] { return metric(server.port(), "upg:request_failure_total") == 1; });
  EXPECT_EQ(ask(server.port(), "POST", kText, R"({"prompt":"x","max_tokens":3})").status, 200);
}

TEST(Server, PipelinedRequestsAreAnsweredInTheirOrder) {
  TestServer server;
  TestClient client(server.port());
  std::string all;
  for (int i = 1; i <= 20; ++i) {
    all += request_text("POST", kText,
                        json{{"prompt", "x"}, {"max_tokens", i}, {"stream", i % 3 == 0}}.dump());
  }
  client.send(all);
  for (int i = 1; i <= 20; ++i) {
    const Answer answer = client.read_answer();
    ASSERT_TRUE(answer.complete) << i;
    if (i % 3 == 0) continue;
    EXPECT_EQ(json::parse(answer.body)["usage"]["completion_tokens"], i);
  }
}

TEST(Server, DeadlinesOfConnections) {
  ServerOptions options;
  options.limits.header = std::chrono::seconds(1);
  options.limits.body = std::chrono::seconds(1);
  options.limits.idle = std::chrono::seconds(1);
  TestServer server(options);
  TestClient header(server.port());
  TestClient body(server.port());
  TestClient idle(server.port());
  header.send("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
  body.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{");
  const Answer late = header.read_answer();
  EXPECT_EQ(late.status, 408);
  EXPECT_THAT(late.body, HasSubstr("\"error\""));
  EXPECT_EQ(body.read_answer().status, 408);
  EXPECT_TRUE(idle.closed_by_server());
}

TEST(Server, DrainLetsAnswersEndAndTakesNoNewOnes) {
  ServerOptions options;
  options.drain = std::chrono::seconds(20);
  TestServer server(options, {.step = milliseconds(2)});
  TestClient client(server.port());
  client.send(request_text("POST", kText, R"({"prompt":"x","max_tokens":200,"stream":true})"));
  wait_until([&] { return metric(server.port(), "upg:num_requests_running") == 1; });
  server.server().stop();
  const Answer answer = client.read_answer();
  EXPECT_TRUE(answer.complete);
  EXPECT_THAT(answer.body, HasSubstr("[DONE]"));
  server.join();
  EXPECT_ANY_THROW(TestClient(server.port()));
}

TEST(Server, DrainHasALimit) {
  ServerOptions options;
  options.drain = std::chrono::seconds(0);
  TestServer server(options, {.step = milliseconds(5)});
  TestClient client(server.port());
  client.send(request_text("POST", kText, R"({"prompt":"x","max_tokens":4000,"stream":true})"));
  wait_until([&] { return metric(server.port(), "upg:num_requests_running") == 1; });
  const auto begin = steady_clock::now();
  server.server().stop();
  server.join();
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(3));
  EXPECT_FALSE(client.read_answer().complete);
}

TEST(Server, ATimeLimitIsA504) {
  ServerOptions options;
  options.api.request_timeout = std::chrono::seconds(1);
  TestServer server(options, {.step = milliseconds(5)});
  const Answer answer = ask(server.port(), "POST", kText, R"({"prompt":"x","max_tokens":4000})");
  EXPECT_EQ(answer.status, 504);
  EXPECT_THAT(answer.body, HasSubstr("timeout"));
}

TEST(Server, StructuredOutputFollowsItsSchema) {
  TestServer server;
  json body = {{"messages", {message("hi")}}, {"max_tokens", 400}};
  body["response_format"] = json::parse(
      R"({"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object",
          "properties":{"ok":{"type":"boolean"},"kind":{"enum":["a","b"]}},
          "required":["ok","kind"],"additionalProperties":false}}})");
  const Answer answer = ask(server.port(), "POST", kChat, body.dump());
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json choice = json::parse(answer.body)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  const json object = json::parse(choice["message"]["content"].get<std::string>());
  EXPECT_TRUE(object["ok"].is_boolean());
  EXPECT_TRUE(object["kind"] == "a" || object["kind"] == "b");
  body["response_format"]["json_schema"]["schema"]["properties"]["ok"]["not"] = json::object();
  const Answer refused = ask(server.port(), "POST", kChat, body.dump());
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("properties.ok"));
}

json weather_tools() {
  return json::parse(R"([{"type":"function","function":{"name":"weather","parameters":
      {"type":"object","properties":{"city":{"type":"string","maxLength":8}},
       "required":["city"],"additionalProperties":false}}}])");
}

// Calls as the model writes them: between its words, and in a stream piece by piece.
TEST(Server, ToolCallsOfAScriptedModel) {
  TestServer server({}, {.script = R"(Let me see.<tool_call|{"name": "weather", )"
                                   R"("arguments": {"city": "Köln"}}</tool_call|)"});
  json body = {{"messages", {message("hi")}}, {"tools", weather_tools()}};
  const Answer plain = ask(server.port(), "POST", kChat, body.dump());
  // The fake's script knows no '>': its text only looks like a call and stays text.
  EXPECT_EQ(json::parse(plain.body)["choices"][0]["finish_reason"], "stop") << plain.body;
  body["tool_choice"] = "required";
  body["parallel_tool_calls"] = false;
  const Answer forced = ask(server.port(), "POST", kChat, body.dump());
  ASSERT_EQ(forced.status, 200) << forced.body;
  const json choice = json::parse(forced.body)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls") << forced.body;
  ASSERT_TRUE(choice["message"]["content"].is_null()) << forced.body;
  const json call = choice["message"]["tool_calls"][0];
  EXPECT_EQ(call["function"]["name"], "weather");
  EXPECT_TRUE(json::parse(call["function"]["arguments"].get<std::string>())["city"].is_string());
  body["stream"] = true;
  bool done = false;
  const auto events = events_of(ask(server.port(), "POST", kChat, body.dump()).body, done);
  EXPECT_TRUE(done);
  std::string arguments;
  int begun = 0;
  for (const json& event : events) {
    for (const json& part : event["choices"][0]["delta"].value("tool_calls", json::array())) {
      ASSERT_EQ(part["index"], 0);
      if (part.contains("id")) {
        ++begun;
        EXPECT_EQ(part["type"], "function");
        EXPECT_EQ(part["function"]["name"], "weather");
      }
      arguments += part["function"]["arguments"].get<std::string>();
    }
  }
  EXPECT_EQ(begun, 1);
  EXPECT_TRUE(json::parse(arguments)["city"].is_string());
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "tool_calls");
  body["tool_choice"] = {{"type", "function"}, {"function", {{"name", "other"}}}};
  EXPECT_EQ(ask(server.port(), "POST", kChat, body.dump()).status, 400);
}

TEST(Server, OtherOriginsMayNotWriteUnlessTheyAreNamed) {
  ServerOptions options;
  options.cors_origins = {"https://chat.example"};
  TestServer server(options);
  const std::string_view body = R"({"prompt":"x","max_tokens":1})";
  EXPECT_EQ(ask(server.port(), "POST", kText, body, "Origin: https://evil.example\r\n").status,
            403);
  EXPECT_EQ(ask(server.port(), "POST", kText, body, "Origin: http://localhost\r\n").status, 200);
  const Answer named = ask(server.port(), "POST", kText, body, "Origin: https://chat.example\r\n");
  EXPECT_EQ(named.status, 200);
  EXPECT_THAT(named.head, HasSubstr("Access-Control-Allow-Origin: https://chat.example"));
  const Answer before =
      ask(server.port(), "OPTIONS", kText, {}, "Origin: https://chat.example\r\n");
  EXPECT_EQ(before.status, 204);
  EXPECT_THAT(before.head, HasSubstr("Access-Control-Allow-Headers: Authorization, Content-Type"));
}

// A page whose name was made to point at this machine asks from its own origin.
TEST(Server, ANameThatIsNotThisMachinesOwnIsRefusedWithoutKeys) {
  const auto with_host = [](int port, std::string_view host) {
    TestClient client(port);
    client.send(fmt::format("GET /props HTTP/1.1\r\nHost: {}\r\n\r\n", host));
    return client.read_answer().status;
  };
  TestServer open;
  EXPECT_EQ(with_host(open.port(), "evil.example:8080"), 403);
  for (const std::string_view own : {"localhost", "localhost:1", "127.0.0.1:80", "[::1]:80"}) {
    EXPECT_EQ(with_host(open.port(), own), 200) << own;
  }
  ServerOptions options;
  options.cors_origins = {"https://chat.example"};
  TestServer named(options);
  EXPECT_EQ(with_host(named.port(), "chat.example"), 200);
}

// No key, no body: it is not even read.
TEST(Server, ABodyWithoutAKeyIsNotAwaited) {
  ServerOptions options;
  options.api_keys = {"k"};
  TestServer server(options);
  TestClient client(server.port());
  client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n");
  EXPECT_EQ(client.read_answer().status, 401);
}

// A flood of requests whose answers nobody reads is not kept in memory.
TEST(Server, PipelinedRequestsThatNobodyReadsArePaused) {
  TestServer server;
  const auto resident = [&] {
    const json props = json::parse(ask(server.port(), "GET", "/props").body);
    return props["memory"]["resident_bytes"].get<int64_t>();
  };
  TestClient client(server.port());
  std::string flood;
  while (flood.size() < (1 << 20)) flood += "GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const int64_t before = resident();
  std::thread writer([&] {
    for (int i = 0; i < 64; ++i) client.send(flood);
  });
  std::this_thread::sleep_for(milliseconds(500));
  // Less than the flood by far, also where a sanitizer holds back what is freed.
  EXPECT_LT(resident() - before, int64_t{40} << 20);
  client.shut_down();
  writer.join();
}

TEST(Server, SeveralModelsOnDemand) {
  ServerOptions options;
  options.address.port = 0;
  options.log.level = LogLevel::kError;
  options.host.models = {{"a", "a"}, {"b", "b"}, {"broken", "broken"}};
  options.host.on_demand = true;
  options.host.idle = std::chrono::seconds(1);
  Server server(options, [](const std::filesystem::path& path) {
    if (path == "broken") throw Error(ErrorCode::kInvalidData, "broken: it is");
    return LoadedModel{std::make_unique<FakeModel>(FakeOptions{.script = path.string()}), {}};
  });
  std::thread thread([&] { server.run(); });
  const auto content = [&](std::string_view model) {
    const json body = {{"model", model}, {"messages", {message("hi")}}};
    const Answer answer = ask(server.port(), "POST", kChat, body.dump());
    if (answer.status != 200) return answer.body;
    return json::parse(answer.body)["choices"][0]["message"]["content"].get<std::string>();
  };
  EXPECT_EQ(content("a"), "a");
  EXPECT_EQ(content("b"), "b");  // in the place of a
  EXPECT_EQ(content("a"), "a");
  EXPECT_THAT(content("broken"), HasSubstr("broken: it is"));
  EXPECT_THAT(content("c"), HasSubstr("model_not_found"));
  EXPECT_EQ(json::parse(ask(server.port(), "GET", "/v1/models").body)["data"].size(), 3U);
  wait_until([&] {
    const std::string models = ask(server.port(), "GET", "/v1/models").body;
    return models.find("\"loaded\":true") == std::string::npos;
  });
  server.stop();
  thread.join();
}

TEST(Server, TheInterfaceDescribesItself) {
  TestServer server;
  const json api = json::parse(ask(server.port(), "GET", "/openapi.json").body);
  for (const RouteRow& row : routes()) EXPECT_TRUE(api["paths"].contains(row.path)) << row.path;
  EXPECT_EQ(ask(server.port(), "HEAD", "/v1/models").body, "");
  const json props = json::parse(ask(server.port(), "GET", "/props").body);
  EXPECT_EQ(props["id"], "fake");
  const json tokens =
      json::parse(ask(server.port(), "POST", "/tokenize", R"({"content":"ab"})").body);
  EXPECT_EQ(tokens["tokens"], json({97, 98}));
}

}  // namespace
}  // namespace upg::server
