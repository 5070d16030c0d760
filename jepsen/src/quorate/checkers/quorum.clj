(ns quorate.checkers.quorum
  "Invariant 3: an automatic switch is authorised only with a quorum of distinct sites down on `from`, and up on `to`, all
  logged in the current term and fresh.

  Twice: by the evidence that the cluster kept, and by the ground truth, because evidence can be wrong. A switch for which no
  quorum of sites had a dead region is a false switch."
  (:require [quorate.history :as h]))

(defn- sites [region opinion]
  (set (keep #(when (= opinion (:opinion %)) (:site %)) (:votes region))))

(defn- by-evidence [{{:keys [service epoch cause term from to electorate regions]} :value}]
  (when (#{:failover :failback} cause)
    (let [total (count (set (vals electorate)))
          majority (inc (quot total 2))
          region (into {} (map (juxt :region identity)) regions)
          stale (for [r regions vote (:votes r) :when (#{:up :down} (:opinion vote))
                      run (:runs vote) :when (not= term (:term run))]
                  (str (:site vote) " of term " (:term run)))
          strangers (for [r regions vote (:votes r) :when (not (contains? electorate (:node vote)))] (:node vote))
          short (fn [opinion name]
                  (let [held (sites (get region name) opinion)]
                    (when (< (count held) majority)
                      (str service ": epoch " epoch " rests on " (count held) " of " total " sites that say " name " is "
                           (clojure.core/name opinion) ", " majority " are a quorum"))))]
      (remove nil?
              [(when (= cause :failover) (short :down from))
               (short :up to)
               (when (seq stale) (str service ": epoch " epoch " of term " term " counts " (vec (distinct stale))))
               (when (seq strangers) (str service ": epoch " epoch " counts nodes without a vote: " (vec strangers)))]))))

(defn false-switches
  "The failovers that no outage explains, as {:service :epoch :from :at}."
  [history]
  (for [[service {:keys [window-ms least-dead-ms]}] (h/services history)
        :let [times (h/first-taken history service)]
        {{:keys [epoch cause from electorate]} :value :as op} (h/oks history :evidence)
        :when (and (= service (get-in op [:value :service])) (= :failover cause) (get times epoch))
        :let [at (get times epoch)
              nodes (keys electorate)
              needed (inc (quot (count (set (vals electorate))) 2))
              dead (h/dead-spans history service from nodes needed)]
        :when (not (h/meets? dead (- at (h/ms->ns window-ms)) at (h/ms->ns least-dead-ms)))]
    {:service service :epoch epoch :from from :at at}))

(defn check [history]
  (h/verdict 3 (concat (mapcat by-evidence (h/oks history :evidence))
                       (for [{:keys [service epoch from at]} (false-switches history)]
                         (str service ": epoch " epoch " left " from " at " (h/ms at)
                              " ms, which was dead for no quorum of sites: a false switch")))))
