// The prompt templates as parts, so that the frame and the row's own text can look different.
// meadow/prompt.py has the bytes that training uses; a test holds these to them.

const WITH_INPUT =
  'Below is an instruction that describes a task, paired with an input that provides further ' +
  'context. Write a response that appropriately completes the request.'
const WITHOUT_INPUT =
  'Below is an instruction that describes a task. Write a response that appropriately completes ' +
  'the request.'

const frame = (text) => ({ kind: 'frame', text })
const field = (name, text) => ({ kind: name, text })

// Stanford's alpaca has the response right behind the colon.
function withInput(row, ending = '\n') {
  return [
    frame(`${WITH_INPUT}\n\n### Instruction:\n`), field('instruction', row.instruction),
    frame('\n\n### Input:\n'), field('input', row.input),
    frame(`\n\n### Response:${ending}`), field('output', row.output),
  ]
}

function withoutInput(row) {
  return [
    frame(`${WITHOUT_INPUT}\n\n### Instruction:\n`), field('instruction', row.instruction),
    frame('\n\n### Response:'), field('output', row.output),
  ]
}

/** Template name -> the parts of a row's training text. */
export const TEMPLATES = {
  medalpaca: (row) => withInput(row),
  alpaca: (row) => (row.input ? withInput(row, '') : withoutInput(row)),
}
