// A classifier of images in int8, for TensorFlow Lite Micro.
#pragma once

#include <cstddef>
#include <cstdint>

namespace $name {

// The TFLite file.
extern const unsigned char kModel[];
constexpr std::size_t kModelBytes = $bytes;

// Memory that the interpreter starts in, found by trying, with plain kernels and pointers of 64 bits.
// Kernels that replace the plain ones may need scratch memory on top.
constexpr std::size_t kArenaBytes = $arena;

// An input is one image, rows first, channels last. It stores
// round(pixel / kInputScale) + kInputZeroPoint of a pixel from 0 to 255.
constexpr int kHeight = $height;
constexpr int kWidth = $width;
constexpr int kChannels = $channels;
constexpr int kInputSize = kHeight * kWidth * kChannels;
constexpr float kInputScale = $input_scale;
constexpr int kInputZeroPoint = $input_zero;

// A logit is kOutputScale * (stored - kOutputZeroPoint); the largest is the answer.
constexpr int kClasses = $classes;
constexpr float kOutputScale = $output_scale;
constexpr int kOutputZeroPoint = $output_zero;
extern const char* const kLabels[kClasses];

// A real image as the input stores it, and the output that it must give, to kTolerance.
extern const std::int8_t kGoldenInput[kInputSize];
extern const std::int8_t kGoldenLogits[kClasses];
constexpr int kTolerance = $tolerance;

}  // namespace $name
