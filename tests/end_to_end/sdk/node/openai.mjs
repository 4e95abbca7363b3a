// A conversation by the `openai` package: node openai.mjs ADDRESS MODEL
import assert from 'node:assert/strict'
import OpenAI from 'openai'

const [address, model] = process.argv.slice(2)
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: 'lmx', maxRetries: 0 })
const ask = (content, fields = {}) =>
  client.chat.completions.create({ model, messages: [{ role: 'user', content }], ...fields })
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const tools = [{ type: 'function', function: { name: 'get_weather', description: 'Get the weather', parameters } }]

// whole and streamed
const whole = await ask('hi')
assert.equal(whole.choices[0].message.content, 'Hello there.')
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens)
const events = client.chat.completions.stream({
  model, messages: [{ role: 'user', content: 'hi' }], stream_options: { include_usage: true },
})
let text = ''
for await (const chunk of events) text += chunk.choices[0]?.delta.content ?? ''
assert.equal(text, 'Hello there.')
assert.equal((await events.finalChatCompletion()).choices[0].finish_reason, 'stop')
assert.ok((await events.totalUsage()).completion_tokens > 1)

// tools, by the loop of the package itself
const runner = client.chat.completions.runTools({
  model,
  messages: [{ role: 'user', content: 'caseweather' }],
  stream: true,
  tools: [{
    type: 'function',
    function: {
      name: 'get_weather', description: 'Get the weather', parameters, parse: JSON.parse,
      function: ({ city }) => (assert.equal(city, 'Paris'), 'casesunny'),
    },
  }],
})
assert.equal(await runner.finalContent(), 'It is sunny.')
assert.equal((await ask('caseweather', { tools })).choices[0].finish_reason, 'tool_calls')

// a schema, and thinking
const format = { type: 'json_schema', json_schema: { name: 'city', strict: true, schema: parameters } }
const parsed = await client.chat.completions.parse({
  model, messages: [{ role: 'user', content: 'casejson' }], response_format: format,
})
assert.deepEqual(JSON.parse(parsed.choices[0].message.content), { city: 'Paris' })
const thought = (await ask('casethink')).choices[0].message
assert.deepEqual([thought.reasoning_content, thought.content], ['Two and two.', 'It is four.'])

// Responses
const response = await client.responses.create({ model, input: 'casethink', reasoning: { effort: 'low' } })
assert.equal(response.output_text, 'It is four.')
const types = []
for await (const event of client.responses.stream({ model, input: 'hi' })) types.push(event.type)
assert.deepEqual([types[0], types.at(-1)], ['response.created', 'response.completed'])

// errors
await assert.rejects(ask('hi', { temperature: 9 }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError)
  assert.equal(error.param, 'temperature')
  return true
})
await assert.rejects(ask('hi', { model: 'no/model' }), OpenAI.NotFoundError)
await assert.rejects(ask('word '.repeat(40000)), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError)
  assert.equal(error.code, 'context_length_exceeded')
  return true
})

// cancel
const stream = await ask('caseforever', { stream: true })
let pieces = 0
for await (const _ of stream) if (++pieces === 5) break
assert.ok(stream.controller.signal.aborted)
const controller = new AbortController()
setTimeout(() => controller.abort(), 300)
await assert.rejects(
  client.chat.completions.create(
    { model, messages: [{ role: 'user', content: 'caseforever' }] }, { signal: controller.signal },
  ),
  OpenAI.APIUserAbortError,
)
console.log('done')
