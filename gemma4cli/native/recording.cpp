#include "recording.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "mlx/backend/cpu/encoder.h"
#include "mlx/transforms.h"

namespace g4 {
namespace mx = mlx::core;

/// Walks from outputs to inputs and writes the steps on the way into a recording.
class Recording::Recorder {
 public:
  Recorder(Recording& recording, const std::vector<mx::array>& inputs) : recording_(recording) {
    for (const auto& input : inputs) place(input, Kind::input);
  }

  /// Whether `x` is made from the inputs; if so, its steps are counted.
  bool depends(const mx::array& x) {
    if (const auto known = kinds_.find(x.id()); known != kinds_.end()) {
      return known->second != Kind::constant;
    }
    bool result = false;
    if (x.has_primitive()) {
      for (const auto& input : x.inputs()) result = depends(input) || result;
    }
    for (const auto& each : x.outputs()) kinds_[each.id()] = result ? Kind::step : Kind::constant;
    if (!result) return false;
    for (const auto& input : x.inputs()) {
      if (!depends(input) && !places_.contains(input.id())) {
        place(input, Kind::constant);
        recording_.constants_.push_back(input);
      }
    }
    in_order_.push_back(x);
    return true;
  }

  /// Writes the steps that were found; their numbers follow those of inputs and constants.
  void write() {
    for (const auto& x : in_order_) {
      Step step{
          std::dynamic_pointer_cast<RowPrimitive>(x.primitive_ptr()), {}, next_, {}, {}};
      if (!step.primitive && std::strcmp(x.primitive().name(), "Reshape") != 0) {
        throw std::invalid_argument(
            std::string("Recording: ") + x.primitive().name() + " cannot be recorded");
      }
      for (const auto& input : x.inputs()) step.inputs.push_back(place_of(input));
      for (const auto& output : x.outputs()) {
        place(output, Kind::step);
        step.shapes.push_back(output.shape());
        step.types.push_back(output.dtype());
      }
      recording_.steps_.push_back(std::move(step));
    }
  }

  size_t place_of(const mx::array& x) const { return places_.at(x.id()); }

 private:
  enum class Kind { input, constant, step };

  void place(const mx::array& x, Kind kind) {
    kinds_[x.id()] = kind;
    places_[x.id()] = next_++;
  }

  Recording& recording_;
  size_t next_ = 0;
  std::unordered_map<std::uintptr_t, Kind> kinds_;
  std::unordered_map<std::uintptr_t, size_t> places_;
  std::vector<mx::array> in_order_;  // one output of each step, inputs of a step before it
};

namespace {

/// A recording as one step of MLX's graph.
class Replay : public RowPrimitive {
 public:
  Replay(mx::Stream stream, std::shared_ptr<Recording> recording)
      : RowPrimitive(stream), recording_(std::move(recording)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    // MLX keeps the inputs until the work is done, but not the primitive; the constants are its own.
    return [recording = recording_, work = recording_->prepare(inputs, outputs, stream())] {
      work();
    };
  }
  const char* name() const override { return "G4Replay"; }

 private:
  std::shared_ptr<Recording> recording_;
};

/// The memory of `x`, which is in rows, in the shape of `out`.
void reshape(const mx::array& x, mx::array& out) {
  out.copy_shared_buffer(x, out.strides(), {true, true, out.size() <= 1}, x.data_size());
}

}  // namespace

Recording::Recording(
    const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs) {
  for (const auto& input : inputs) {
    input_shapes_.push_back(input.shape());
    input_types_.push_back(input.dtype());
  }
  Recorder recorder(*this, inputs);
  for (const auto& output : outputs) {
    output_shapes_.push_back(output.shape());
    output_types_.push_back(output.dtype());
    if (!recorder.depends(output)) {
      throw std::invalid_argument("Recording: an output does not depend on the inputs");
    }
  }
  recorder.write();
  for (const auto& output : outputs) outputs_.push_back(recorder.place_of(output));
  mx::eval(constants_);
}

std::vector<mx::array> Recording::replay(
    const std::shared_ptr<Recording>& recording, const std::vector<mx::array>& inputs,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  const auto& shapes = recording->input_shapes_;
  std::vector<mx::array> dense;
  for (size_t i = 0; i < inputs.size(); i++) {
    if (inputs.size() != shapes.size() || inputs[i].shape() != shapes[i] ||
        inputs[i].dtype() != recording->input_types_[i]) {
      throw std::invalid_argument("Recording: the inputs are not like those of the recording");
    }
    dense.push_back(in_rows(inputs[i], stream));
  }
  return mx::array::make_arrays(
      recording->output_shapes_, recording->output_types_,
      std::make_shared<Replay>(stream, recording), std::move(dense));
}

Work Recording::prepare(
    const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
    mx::Stream stream) const {
  std::vector<mx::array> values = inputs;
  values.insert(values.end(), constants_.begin(), constants_.end());
  std::vector<Work> works;
  for (const auto& step : steps_) {
    std::vector<mx::array> step_inputs, step_outputs;
    for (size_t place : step.inputs) step_inputs.push_back(values[place]);
    for (size_t i = 0; i < step.shapes.size(); i++) {
      const auto wanted = std::find(outputs_.begin(), outputs_.end(), step.first_output + i);
      // Copies of an array share what they are given.
      step_outputs.push_back(
          wanted != outputs_.end() ? outputs[size_t(wanted - outputs_.begin())]
                                   : mx::array(step.shapes[i], step.types[i], nullptr, {}));
    }
    if (step.primitive) {
      works.push_back(step.primitive->prepare(step_inputs, step_outputs));
    } else {
      reshape(step_inputs[0], step_outputs[0]);
    }
    values.insert(values.end(), step_outputs.begin(), step_outputs.end());
  }
  const auto first_temporary = values.begin() + int64_t(inputs.size() + constants_.size());
  mx::cpu::get_command_encoder(stream).add_temporaries({first_temporary, values.end()});
  return [works = std::move(works)] {
    for (const auto& work : works) work();
  };
}

}  // namespace g4
