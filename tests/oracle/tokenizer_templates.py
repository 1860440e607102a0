#!/usr/bin/env python3
"""Chat templates as published, and what Jinja makes of them on probe conversations.

    tokenizer_templates.py --write tests/golden/tokenizer_chat_templates.json
    tokenizer_templates.py --check tests/golden/tokenizer_chat_templates.json

The C++ tests compare the table's rows, the evaluator and the choice of a row with that file. Needs
jinja2 of requirements-ci.txt; the environment is the one `transformers` renders in.
"""

import argparse
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

PHI4 = (
    "{% for message in messages %}{% if (message['role'] == 'system') %}"
    "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'user') %}"
    "{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'assistant') %}"
    "{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}")
# An older revision opens the answer behind every question.
PHI4_OLD = (
    "{% for message in messages %}{% if (message['role'] == 'system') %}"
    "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'user') %}"
    "{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|><|im_start|>assistant<|im_sep|>'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|im_end|>'}}"
    "{% endif %}{% endfor %}")
PHI4_MINI = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + "
    "'<|/tool|>' + '<|end|>' }}{% else %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
QWEN25 = r'''{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
'''
QWEN3 = r'''{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\nYou may call one or more functions to assist with the user query." }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "<|im_end|>\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {{- '<tool_call>\n{"name": "' }}
                {{- tool_call.name }}
                {{- '"}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}'''
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
    "message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
LLAMA31 = r'''{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message + builtin tools #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\n\n"}}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have access to the following functions. To call a function, please respond with JSON for a function call." }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{#- Custom tools are passed in a user message with some extra guidance #}
{%- if tools_in_user_message and not tools is none %}
    {#- Extract the first user message so we can plug it in here #}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' -}}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
            {{- "<|python_tag|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
            {%- endfor %}
            {{- ")" }}
        {%- endif %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
'''
LLAMA32_DATE = r'''{%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}'''
LLAMA32 = LLAMA31.replace('{%- set date_string = "26 Jul 2024" %}', LLAMA32_DATE)
MISTRAL_V1 = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}")
MISTRAL = r'''{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\n\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
'''
MISTRAL_V3 = r'''{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
'''
MISTRAL_V3_PLAIN = MISTRAL_V3.replace("|trim", "").replace(
    '{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}\n', "")
# No row writes these, or they cannot be run: they must stay unknown.
VICUNA = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' + message['content'] + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
CHATML_TRIMMED = CHATML.replace("message['content']", "message['content'] | trim")
CHATML_BOS = "{{ bos_token }}" + CHATML
CHATML_DATED = "{{ strftime_now('%Y') }}" + CHATML
MACRO = "{% macro say(m) %}{{ m.content }}{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}"
BROKEN = "{% for message in messages %}{{ message.content }"

# name -> (row that it means, or None; text)
TEMPLATES = {
    "phi4": ("phi4", PHI4), "phi4_old": ("phi4", PHI4_OLD), "phi4_mini": ("phi4-mini", PHI4_MINI),
    "chatml": ("chatml", CHATML), "qwen2": ("qwen2", QWEN2), "qwen25": ("qwen", QWEN25),
    "qwen3": ("chatml", QWEN3), "llama3": ("llama3", LLAMA3), "llama31": ("llama3.1", LLAMA31),
    "llama32": ("llama3.1", LLAMA32), "mistral_v1": ("mistral-v1", MISTRAL_V1),
    "mistral": ("mistral", MISTRAL), "mistral_v3": ("mistral-v3", MISTRAL_V3_PLAIN),
    "mistral_v3_trim": (None, MISTRAL_V3), "vicuna": (None, VICUNA),
    "chatml_trimmed": (None, CHATML_TRIMMED), "chatml_bos": (None, CHATML_BOS),
    "chatml_dated": (None, CHATML_DATED), "macro": (None, MACRO), "broken": (None, BROKEN),
}
TOKENS = {
    "phi4": ("<|endoftext|>", "<|im_end|>"), "phi4-mini": ("<|endoftext|>", "<|endoftext|>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"), "llama3.1": ("<|begin_of_text|>", "<|eot_id|>"),
    "mistral": ("<s>", "</s>"), "mistral-v1": ("<s>", "</s>"), "mistral-v3": ("<s>", "</s>"),
}
# The white-space rules, one by one, and what expressions do.
SNIPPETS = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n   {% if true %}   \nb{% endif %}   \n c",
    "a  {%- if true -%}  \n b  {%- endif %} c", "x {{- 1 }} y {{ 2 -}}  z", "  {%+ if true %} a {% endif +%}\nb",
    "{# note #}\na\n  {#- more -#}  b", "a\r\n{% if true %}\r\nb{% endif %}\r\n\r\n",
    "{{ '{{' }}{{ {'a': {'b': 'c'}}['a']['b'] }}", "{{ 7 // 2 }},{{ 7 % 3 }},{{ -7 // 2 }},{{ -7 % 3 }},{{ 2 - 3 * 4 }}",
    "{{ 1 ~ 'a' ~ none ~ true ~ missing }}", "{{ 'a' 'b' + 'c' | upper }}",
    "{{ 'yes' if missing is defined else 'no' }}|{{ 'x' if false }}",
    "{% for i in [1, 2, 3, 4] if i % 2 == 0 %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ loop.last }} {% else %}none{% endfor %}",
    "{% for i in [] %}{{ i }}{% else %}none{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{{ [1, 2, 3, 4][1:3] | length }}{{ [1, 2, 3][::-1] | first }}{{ [1, 2, 3][-1] }}{{ [1, 2, 3][:-1] | last }}{{ [1, 2][5:] | length }}",
    "{{ messages[0].role }}{{ messages[-1]['content'] | trim }}{{ messages | length }}{{ messages[0].nothing }}",
    "{{ 'a,b,c'.split(',') | join('-') }}{{ '  x '.strip() }}{{ 'xxay'.lstrip('x') }}{{ 'abc'.replace('b', 'B') }}",
    "{{ 'ab' in 'cabd' }}{{ 'x' not in ['a', 'x'] }}{{ 'role' in messages[0] }}{{ 1 in [1] and not 2 in [1] }}",
    "{{ {'a': [1, 'é\"\\n', none, true]} | tojson }}", "{{ none is none }}{{ '' is string }}{{ [] is iterable }}{{ 1 is number }}{{ {} is mapping }}",
    "{{ (1 > 2) or 'fallback' }}{{ 0 or none }}{{ 'a' and 'b' }}{{ not '' }}",
    "{{ missing | default('d') }}{{ 'üß' | length }}{{ 'A'.lower() }}{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('x') }}",
    "{%- for m in messages -%}\n  {{- m.role }}:\n  {%- if not loop.last %}, {% endif -%}\n{%- endfor %}",
    "{% if 1 == 2 %}a{% elif 'b' == 'b' %}b{% else %}c{% endif %}{% if messages[0].role != 'user' %}d{% endif %}",
    "{{ messages[0].content.strip().split('\\n')[0] }}{{ 'tab\\there' }}{{ \"it's\" }}{{ 'q\\'q' }}",
    "{{ raise_exception('no') }}", "{{ 3 <= 3 }}{{ 2 < 1 }}{{ 2 >= 3 }}{{ 'a' != 'b' }}{{ none == none }}",
]

SYSTEM = {"role": "system", "content": "Be\n brief. "}
USER = {"role": "user", "content": " Hi there,\n\nmodel! "}
ANSWER = {"role": "assistant", "content": "\nHello <|im_end|> & 'you'. "}
LAST = {"role": "user", "content": "Ünï 日本 {{ x }}\t"}
CONVERSATIONS = [[USER], [SYSTEM, USER], [USER, ANSWER, LAST], [SYSTEM, USER, ANSWER, LAST],
                 [USER, ANSWER, LAST, ANSWER, USER]]


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    env.globals["raise_exception"] = raise_exception
    return env


def render(text, messages, prompt, tokens):
    """What Jinja makes of it; None when the template refuses."""
    bos, eos = tokens
    try:
        return environment().from_string(text).render(
            messages=messages, add_generation_prompt=prompt, bos_token=bos, eos_token=eos,
            tools=None, documents=None)
    except jinja2.exceptions.TemplateError:
        return None


def golden():
    templates = []
    for name, (row, text) in TEMPLATES.items():
        entry = {"name": name, "row": row, "template": text}
        if row is not None:
            tokens = TOKENS.get(row, ("<bos>", "<|im_end|>"))
            entry["rendered"] = [render(text, m, True, tokens) for m in CONVERSATIONS]
            entry["rendered_without_prompt"] = [render(text, m, False, tokens) for m in CONVERSATIONS]
        templates.append(entry)
    snippets = [{"template": text, "rendered": render(text, CONVERSATIONS[3], True, ("<s>", "</s>"))}
                for text in SNIPPETS]
    return {"conversations": CONVERSATIONS, "templates": templates, "snippets": snippets}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path)
    args = parser.parse_args()
    text = json.dumps(golden(), ensure_ascii=False, indent=1) + "\n"
    if args.write:
        args.write.write_text(text, encoding="utf-8")
    if args.check and args.check.read_text(encoding="utf-8") != text:
        sys.exit(f"{args.check}: not what Jinja renders; run with --write")


if __name__ == "__main__":
    main()
