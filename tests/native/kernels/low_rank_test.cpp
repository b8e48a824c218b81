// What an adapter adds to the results of a product.
#include "matrices.h"
#include "tests.h"

namespace g4::test {
namespace {

struct Case {
  Form form;
  int64_t outputs, rank, count;
  bool share, bias;
};

std::string text(const Case& task) {
  return "add_low_rank, " + task.form.text() + ", " + std::to_string(task.outputs) + " x " +
      std::to_string(task.rank) + ", " + std::to_string(task.count);
}

void test(const Kernels& set, const Case& task) {
  const auto& [form, outputs, rank, count, with_share, with_bias] = task;
  const int64_t stride = outputs + 3, first = outputs / 3, last = outputs - outputs / 4;
  Addition addition;
  std::unique_ptr<Matrix> b;
  if (rank > 0) {
    b = std::make_unique<Matrix>(form, outputs, rank, count % 3);
    addition.b = b->weight;
  }
  Guarded<float> h(count * rank), y(count * stride), share(outputs), bias(outputs);
  for (auto* each : {&h, &y, &share, &bias}) fill_normal(*each);
  if (with_share) addition.share = share.data();
  if (with_bias) addition.bias = bias.data();

  const std::vector<float> before(y.data(), y.data() + y.size());
  Exact exact, spreads;
  std::vector<float> got;
  std::vector<float*> rows;
  for (int64_t i = 0; i < count; i++) rows.push_back(y.data() + i * stride);
  set.add_low_rank(addition, h.data(), count, rows.data(), first, last);
  for (int64_t i = 0; i < count; i++) {
    for (int64_t n = 0; n < stride; n++) {
      const int64_t at = i * stride + n;
      if (n < first || n >= last) {
        if (y[at] != before[size_t(at)]) fail(text(task) + ": changed another number");
        continue;
      }
      double sum = before[size_t(at)], squares = sum * sum;
      for (int64_t j = 0; j < rank; j++) {
        const double term = double(h[i * rank + j]) * b->exact[size_t(n * rank + j)];
        sum += term;
        squares += term * term;
      }
      const double factor = with_share ? double(share[n]) : 1, added = with_bias ? double(bias[n]) : 0;
      exact.push_back(sum * factor + added);
      spreads.push_back(std::hypot(std::sqrt(squares) * factor, added));
      got.push_back(y[at]);
    }
  }
  compare(text(task), got.data(), exact.data(), int64_t(got.size()), 1e-5, spreads.data());
}

}  // namespace

void test_add_low_rank(const Kernels& set) {
  int64_t turn = 0;
  for (const Form& form : {Form{Kind::f32, 32}, Form{Kind::f16, 16}, Form{Kind::bf16, 16}}) {
    for (int64_t outputs : {1, 16, 35, 203}) {
      for (int64_t rank : {0, 1, 4, 16, 31, 130}) {
        for (int64_t count : {1, 2, 4, 7, 33}) {
          test(set, {form, outputs, rank, count, turn % 2 == 0, turn % 3 == 0});
          turn++;
        }
      }
    }
  }
}

}  // namespace g4::test
