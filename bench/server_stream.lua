-- wrk: streamed answers of 1,000 tokens.
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":1000,"stream":true}'
