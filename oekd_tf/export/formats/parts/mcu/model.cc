#include "model.h"

namespace $name {

alignas(16) const unsigned char kModel[kModelBytes] = {
$model
};

const char* const kLabels[kClasses] = {
$labels
};

const std::int8_t kGoldenInput[kInputSize] = {
$golden_input
};

const std::int8_t kGoldenLogits[kClasses] = {
$golden_logits
};

}  // namespace $name
