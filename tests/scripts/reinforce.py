"""REINFORCE with a learned baseline on the cart and pole of Barto, Sutton and Anderson (1983)."""

import argparse
import math
from collections import deque

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical


class CartPole:
    """A pole on a cart that is pushed left or right at every step; Euler integration."""

    gravity, masscart, masspole, length, force_mag, tau = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

    def __init__(self, seed, limit=500):
        self.rng = np.random.default_rng(seed)
        self.limit = limit

    def reset(self):
        self.state = self.rng.uniform(-0.05, 0.05, size=4)
        self.steps = 0
        return self.state.astype(np.float32)

    def step(self, action):
        x, x_dot, theta, theta_dot = self.state
        force = self.force_mag if action == 1 else -self.force_mag
        total_mass = self.masscart + self.masspole
        polemass_length = self.masspole * self.length
        cos, sin = math.cos(theta), math.sin(theta)
        temp = (force + polemass_length * theta_dot**2 * sin) / total_mass
        theta_acc = (self.gravity * sin - cos * temp) / (
            self.length * (4.0 / 3.0 - self.masspole * cos**2 / total_mass)
        )
        x_acc = temp - polemass_length * theta_acc * cos / total_mass
        self.state = self.state + self.tau * np.array([x_dot, x_acc, theta_dot, theta_acc])
        self.steps += 1
        done = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 12 * math.pi / 180
        return self.state.astype(np.float32), 1.0, bool(done or self.steps >= self.limit)


class Policy(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.affine = nn.Linear(4, hidden)
        self.action_head = nn.Linear(hidden, 2)
        self.value_head = nn.Linear(hidden, 1)

    def forward(self, x):
        x = torch.tanh(self.affine(x))
        return self.action_head(x), self.value_head(x).squeeze(-1)


def run_episode(env, policy, device):
    log_probs, values, entropies, rewards = [], [], [], []
    state, done = env.reset(), False
    while not done:
        logits, value = policy(torch.from_numpy(state).to(device).unsqueeze(0))
        dist = Categorical(logits=logits)
        action = dist.sample()
        log_probs.append(dist.log_prob(action))
        entropies.append(dist.entropy())
        values.append(value)
        state, reward, done = env.step(action.item())
        rewards.append(reward)
    return torch.cat(log_probs), torch.cat(values), torch.cat(entropies), rewards


def discounted(rewards, gamma, eps):
    R, returns = 0.0, deque()
    for r in rewards[::-1]:
        R = r + gamma * R
        returns.appendleft(R)
    returns = torch.tensor(returns)
    return (returns - returns.mean()) / (returns.std() + eps)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--entropy", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=543)
    parser.add_argument("--log-interval", type=int, default=10)
    parser.add_argument("--solved", type=float, default=195.0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    env = CartPole(args.seed)
    policy = Policy(args.hidden).to(device)
    optimizer = optim.Adam(policy.parameters(), lr=args.lr)
    eps = np.finfo(np.float32).eps.item()

    running_reward = 10.0
    for i_episode in range(1, args.episodes + 1):
        log_probs, values, entropies, rewards = run_episode(env, policy, device)
        returns = discounted(rewards, args.gamma, eps).to(device)
        advantage = returns - values.detach()
        policy_loss = -(log_probs * advantage).sum()
        value_loss = F.smooth_l1_loss(values, returns, reduction="sum")
        loss = policy_loss + value_loss - args.entropy * entropies.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        running_reward = 0.05 * sum(rewards) + 0.95 * running_reward
        if i_episode % args.log_interval == 0:
            print(f"Episode {i_episode}\tLength {len(rewards)}\tLoss {loss.item():.5f}"
                  f"\tAverage reward {running_reward:.2f}")  # fmt: skip
        if running_reward > args.solved:
            print(f"Solved! The running reward is now {running_reward:.2f}.")
            break


if __name__ == "__main__":
    main()
