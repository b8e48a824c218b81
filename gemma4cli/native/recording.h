// Steps of this module that are recorded once and then computed as one.
#pragma once

#include <memory>
#include <vector>

#include "operands.h"

namespace g4 {

/// The steps that lead from some arrays to others.
///
/// With a single token a step takes microseconds, and MLX needs as long for each: to build the graph,
/// to walk through it, and to hand the step to the thread that computes. A recording is one step.
class Recording {
 public:
  /// Records how `outputs` were made from `inputs`: evaluated examples that are like those of later
  /// calls. All other arrays on the way are kept as they are now. Throws std::invalid_argument where a
  /// step is not of this module (or a reshape).
  Recording(const std::vector<mlx::core::array>& inputs, const std::vector<mlx::core::array>& outputs);

  /// The outputs for other inputs of the same shapes and types.
  static std::vector<mlx::core::array> replay(
      const std::shared_ptr<Recording>& recording, const std::vector<mlx::core::array>& inputs,
      mlx::core::StreamOrDevice device = {});

  /// As `RowPrimitive::prepare`; temporary arrays are kept by the stream.
  Work prepare(
      const std::vector<mlx::core::array>& inputs, std::vector<mlx::core::array>& outputs,
      mlx::core::Stream stream) const;

 private:
  /// Arrays are known by their place in a list: inputs, then constants, then what the steps give.
  struct Step {
    std::shared_ptr<RowPrimitive> primitive;  // none for a reshape
    std::vector<size_t> inputs;
    size_t first_output;
    std::vector<mlx::core::Shape> shapes;  // of the outputs
    std::vector<mlx::core::Dtype> types;
  };
  class Recorder;

  std::vector<mlx::core::array> constants_;
  std::vector<Step> steps_;
  std::vector<size_t> outputs_;
  std::vector<mlx::core::Shape> input_shapes_, output_shapes_;
  std::vector<mlx::core::Dtype> input_types_, output_types_;
};

}  // namespace g4
