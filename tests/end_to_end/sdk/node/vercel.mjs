// A conversation by the packages `ai` and `@ai-sdk/openai-compatible`: node vercel.mjs ADDRESS MODEL
import assert from 'node:assert/strict'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai'

const [address, id] = process.argv.slice(2)
const provider = createOpenAICompatible({
  name: 'lmx', baseURL: `${address}/v1`, apiKey: 'lmx', includeUsage: true, supportsStructuredOutputs: true,
})
const common = { model: provider(id), maxRetries: 0 }
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false }
const weather = tool({
  description: 'Get the weather',
  inputSchema: jsonSchema(schema),
  execute: async ({ city }) => (assert.equal(city, 'Paris'), 'casesunny'),
})

// whole and streamed
const whole = await generateText({ ...common, prompt: 'hi' })
assert.deepEqual([whole.text, whole.finishReason], ['Hello there.', 'stop'])
const stream = streamText({ ...common, prompt: 'hi' })
let text = ''
for await (const piece of stream.textStream) text += piece
assert.equal(text, 'Hello there.')
assert.ok((await stream.usage).outputTokens > 1)

// tools, by the loop of the package itself, whole and streamed
const asked = { ...common, prompt: 'caseweather', tools: { get_weather: weather }, stopWhen: stepCountIs(3) }
const called = await generateText(asked)
assert.equal(called.text, 'It is sunny.')
assert.ok(called.steps.at(-1).usage.cachedInputTokens > 0)
const streamed = streamText(asked)
assert.equal(await streamed.text, 'It is sunny.')
assert.equal((await streamed.steps).length, 2)

// a schema, and thinking
const parsed = await generateText({
  ...common, prompt: 'casejson', output: Output.object({ schema: jsonSchema(schema) }),
})
assert.deepEqual(parsed.output, { city: 'Paris' })
const thought = await generateText({ ...common, prompt: 'casethink' })
assert.deepEqual([thought.reasoningText, thought.text], ['Two and two.', 'It is four.'])
const thinking = streamText({ ...common, prompt: 'casethink' })
assert.equal(await thinking.reasoningText, 'Two and two.')

// errors
for (const [fields, status] of [[{ temperature: 9 }, 400], [{ model: provider('no/model') }, 404]]) {
  await assert.rejects(generateText({ ...common, prompt: 'hi', ...fields }), (error) => {
    assert.ok(APICallError.isInstance(error))
    assert.equal(error.statusCode, status)
    assert.ok(error.message.length > 5)
    return true
  })
}

// cancel
const controller = new AbortController()
const endless = streamText({ ...common, prompt: 'caseforever', abortSignal: controller.signal, onError() {} })
let pieces = 0
for await (const part of endless.fullStream) if (part.type === 'text-delta' && ++pieces === 5) controller.abort()
assert.ok(pieces >= 5)
console.log('done')
