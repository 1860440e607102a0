-- wrk: chats of 128 tokens with different beginnings; tokens a second are upg:generation_tokens_total over the time.
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["Content-Type"] = "application/json"
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"messages":[{"role":"user","content":"Tell me story number ' .. (n % 1000) .. ' of the old house"}],"max_tokens":128,"ignore_eos":true,"temperature":0.8}')
end
