// A conversation by the `@anthropic-ai/sdk` package: node anthropic.mjs ADDRESS MODEL
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'

const [address, model] = process.argv.slice(2)
const client = new Anthropic({ baseURL: address, apiKey: 'lmx', maxRetries: 0 })
const asked = (content, fields = {}) => ({ model, max_tokens: 200, messages: [{ role: 'user', content }], ...fields })
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false }
const tools = [{ name: 'get_weather', description: 'Get the weather', input_schema: schema }]

// whole and streamed
const whole = await client.messages.create(asked('hi', { system: 'Be kind.' }))
assert.deepEqual([whole.content[0].text, whole.stop_reason], ['Hello there.', 'end_turn'])
let text = ''
const events = client.messages.stream(asked('hi')).on('text', (piece) => { text += piece })
const message = await events.finalMessage()
assert.equal(text, 'Hello there.')
assert.ok(message.usage.output_tokens > 1)

// tools
const messages = [{ role: 'user', content: 'caseweather' }]
const called = await client.messages.stream({ ...asked(''), messages, tools }).finalMessage()
const use = called.content.find((block) => block.type === 'tool_use')
assert.equal(called.stop_reason, 'tool_use')
assert.deepEqual([use.name, use.input], ['get_weather', { city: 'Paris' }])
messages.push({ role: 'assistant', content: called.content })
messages.push({ role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: 'casesunny' }] })
const sunny = await client.messages.create({ ...asked(''), messages, tools })
assert.equal(sunny.content[0].text, 'It is sunny.')
assert.ok(sunny.usage.cache_read_input_tokens > 0)

// a schema, and thinking
const format = { type: 'json_schema', schema }
const parsed = await client.messages.create(asked('casejson', { output_config: { format } }))
assert.deepEqual(JSON.parse(parsed.content[0].text), { city: 'Paris' })
const thinking = { type: 'enabled', budget_tokens: 1024 }
const thought = await client.messages.stream(asked('casethink', { thinking, max_tokens: 2000 })).finalMessage()
assert.deepEqual(thought.content.map((block) => block.type), ['thinking', 'text'])
assert.deepEqual([thought.content[0].thinking, thought.content[1].text], ['Two and two.', 'It is four.'])

// count, models, errors
assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 5)
assert.equal((await client.models.retrieve(model)).id, model)
await assert.rejects(client.messages.create(asked('hi', { temperature: 1.5 })), Anthropic.BadRequestError)
await assert.rejects(client.messages.create(asked('hi', { model: 'no/model' })), Anthropic.NotFoundError)
await assert.rejects(client.messages.create(asked('word '.repeat(40000))), (error) => {
  assert.ok(error instanceof Anthropic.BadRequestError)
  assert.match(error.message, /prompt is too long: \d+ tokens > \d+ maximum/)
  return true
})

// cancel
const stream = await client.messages.create(asked('caseforever', { stream: true, max_tokens: 20000 }))
let pieces = 0
for await (const _ of stream) if (++pieces === 5) break
assert.ok(stream.controller.signal.aborted)
const endless = client.messages.stream(asked('caseforever', { max_tokens: 20000 }))
endless.once('text', () => endless.abort())
await assert.rejects(endless.finalMessage(), Anthropic.APIUserAbortError)
console.log('done')
