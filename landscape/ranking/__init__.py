"""Ranking: which measures predict generalisation over a family of nets, and how far that can be told from chance."""

from landscape.ranking.configurations import Configurations
from landscape.ranking.rank import RankingSettings, rank_measures
from landscape.ranking.read_table import read_table

__all__ = ["Configurations", "RankingSettings", "rank_measures", "read_table"]
