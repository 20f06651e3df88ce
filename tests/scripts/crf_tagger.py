"""A tagger: an LSTM in both directions under a conditional random field, decoded by Viterbi."""

import argparse

import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()

torch.manual_seed(1)
TAGS = {"B": 0, "I": 1, "O": 2, "<START>": 3, "<STOP>": 4}
SENTENCES = [
    ("the wall street journal wrote that apple made money".split(), "B I I I O O B O O".split()),
    ("georgia tech is a university in georgia".split(), "B I O O O O B".split()),
]
vocabulary = {}
for words, _ in SENTENCES:
    for word in words:
        vocabulary.setdefault(word, len(vocabulary))


def log_sum_exp(row):
    largest = row[0, row.max(1).indices.item()]
    return largest + (row - largest.view(1, -1).expand(1, row.size(1))).exp().sum().log()


class Tagger(nn.Module):
    def __init__(self, embedding=5, hidden=4):
        super().__init__()
        self.embed = nn.Embedding(len(vocabulary), embedding)
        self.lstm = nn.LSTM(embedding, hidden // 2, bidirectional=True)
        self.score = nn.Linear(hidden, len(TAGS))
        self.transitions = nn.Parameter(torch.randn(len(TAGS), len(TAGS)))
        self.transitions.data[TAGS["<START>"], :] = -10000
        self.transitions.data[:, TAGS["<STOP>"]] = -10000

    def features(self, sentence):
        state = (torch.randn(2, 1, 2), torch.randn(2, 1, 2))
        output, _ = self.lstm(self.embed(sentence).view(len(sentence), 1, -1), state)
        return self.score(output.view(len(sentence), -1))

    def start(self):
        first = torch.full((1, len(TAGS)), -10000.0)
        first[0][TAGS["<START>"]] = 0.0
        return first

    def loss(self, sentence, tags):
        features, forward = self.features(sentence), self.start()
        for row in features:
            scores = [
                log_sum_exp(forward + self.transitions[tag].view(1, -1) + row[tag]).view(1)
                for tag in range(len(TAGS))
            ]
            forward = torch.cat(scores).view(1, -1)
        every = log_sum_exp(forward + self.transitions[TAGS["<STOP>"]])
        path = torch.cat([torch.tensor([TAGS["<START>"]]), tags])
        own = torch.zeros(1)
        for i, row in enumerate(features):
            own = own + self.transitions[path[i + 1], path[i]] + row[path[i + 1]]
        return every - own - self.transitions[TAGS["<STOP>"], path[-1]]

    def forward(self, sentence):
        best, pointers = self.start(), []
        for row in self.features(sentence):
            reached = (best + self.transitions).max(1)
            pointers.append(reached.indices.tolist())
            best = (reached.values + row).view(1, -1)
        tag = (best + self.transitions[TAGS["<STOP>"]]).argmax().item()
        path = [tag]
        for back in reversed(pointers[1:]):
            path.append(back[path[-1]])
        return path[::-1]


model = Tagger()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4)
for epoch in range(args.epochs):
    for words, tags in SENTENCES:
        sentence = torch.tensor([vocabulary[word] for word in words])
        model.zero_grad()
        loss = model.loss(sentence, torch.tensor([TAGS[tag] for tag in tags]))
        loss.backward()
        optimizer.step()
    if epoch % 2 == 0:
        print(f"epoch {epoch:3} loss {loss.item():.6f}")
with torch.no_grad():
    for words, _ in SENTENCES:
        print(words[0], model(torch.tensor([vocabulary[word] for word in words])))
