// Runs the golden image and checks the logits: what to try first on a new board.
#include <cstdlib>
#include <cstring>

#include "model.h"
#include "operations.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {
alignas(16) std::uint8_t arena[$name::kArenaBytes];
}  // namespace

int main() {
  using namespace $name;
  tflite::InitializeTarget();
  Resolver resolver;
  if (AddOperations(resolver) != kTfLiteOk) return 1;
  tflite::MicroInterpreter interpreter(tflite::GetModel(kModel), resolver, arena, kArenaBytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("The arena of %u bytes is too small", static_cast<unsigned>(kArenaBytes));
    return 1;
  }
  std::memcpy(interpreter.input(0)->data.int8, kGoldenInput, kInputSize);
  if (interpreter.Invoke() != kTfLiteOk) return 1;
  const std::int8_t* logits = interpreter.output(0)->data.int8;
  int best = 0;
  int farthest = 0;
  for (int i = 0; i < kClasses; ++i) {
    const int difference = std::abs(logits[i] - kGoldenLogits[i]);
    if (difference > farthest) farthest = difference;
    if (logits[i] > logits[best]) best = i;
  }
  MicroPrintf("%s, %d from the golden logits, %u bytes of the arena kept", kLabels[best], farthest,
              static_cast<unsigned>(interpreter.arena_used_bytes()));
  return farthest <= kTolerance ? 0 : 1;
}
