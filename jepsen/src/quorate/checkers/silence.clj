(ns quorate.checkers.silence
  "Invariant 4: blind, silent or expired is never down.

  A vote for down by a node that was killed, stopped, cut off or blind for longer than an opinion lives counts what is none,
  and so does one of a node for which the region was never dead."
  (:require [quorate.history :as h]))

(defn- votes [history]
  (for [{{:keys [service epoch cause from regions]} :value} (h/oks history :evidence)
        :when (= :failover cause)
        :let [at (get (h/first-taken history service) epoch)]
        :when at
        region regions :when (= from (:region region))
        vote (:votes region) :when (= :down (:opinion vote))]
    {:service service :epoch epoch :from from :at at :node (:node vote) :site (:site vote)}))

(defn check [history]
  (let [{:keys [slack-ms]} (h/setup history)]
    (h/verdict
     4 (mapcat
        (fn [{:keys [service epoch from at node site]}]
          (let [{:keys [ttl-ms window-ms]} (get (h/services history) service)
                since (- at (h/ms->ns (+ ttl-ms slack-ms)))
                silent (filter #(h/covers? (h/node-spans history node [%]) since at) [:dead :paused :blind :isolated])]
            (cond
              (seq silent)
              [(str service ": epoch " epoch " counts " site " as down on " from ", which was " (name (first silent))
                    " for more than " (+ ttl-ms slack-ms) " ms")]
              (not (h/meets? (h/region-spans history service from node) (- at (h/ms->ns window-ms)) at 0))
              [(str service ": epoch " epoch " counts " site " as down on " from ", which was not dead for it")])))
        (votes history)))))
