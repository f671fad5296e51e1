// The operations of the model, and no others, so that no others are linked.
#pragma once

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace $name {

using Resolver = tflite::MicroMutableOpResolver<$count>;

inline TfLiteStatus AddOperations(Resolver& resolver) {
$calls
  return kTfLiteOk;
}

}  // namespace $name
